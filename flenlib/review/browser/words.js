// Words and keys: what the widget calls things, and the list that `?` shows.

const LABELS = {
  good: { word: "good", sign: "✓", keys: ["1", "g"] },
  needs_correction: { word: "fix", sign: "✎", keys: ["2", "c"] },
  reject: { word: "reject", sign: "✕", keys: ["3", "r"] },
};

const ORDERS = {
  worst: "worst face first",
  best: "best face first",
  ranked: "as ranked in pairs",
  name: "by name",
};

const FACES = {
  "": "any face",
  beyond: "beyond the threshold",
  within: "within the threshold",
  "not measured": "face not measured",
};

const LATE =
  "The kernel does not answer: it is busy, or gone. What is hatched is not saved. If it was restarted, run this cell again.";
const UNSEEN = "nothing was changed: the picture is not shown yet";
const BLIND = "a second look is blind, and only labels: go back to correct a picture";
const STRICT = "a strict review takes a picture or leaves it: correct pictures in step 1.3";

const HELP = [
  ["1 or g · 2 or c · 3 or r", "good · fix (needs correction) · reject"],
  ["u, Backspace, Ctrl+Z", "undo"],
  ["y, Ctrl+Y, Ctrl+Shift+Z", "redo"],
  ["arrows, Home, End, Page Up, Page Down", "move; with Shift: select a range"],
  ["[ and ]", "turn the page"],
  ["n", "next undecided picture"],
  ["Space · Ctrl+A", "select this picture · all of this page"],
  ["Enter · Escape", "one picture, large · back, or select nothing"],
  ["z · + and −, mouse wheel · Shift+arrows, drag", "1:1 or fit · zoom · move over a zoomed picture"],
  ["s", "blink: edit, source and corrected picture in place"],
  ["v", "source beside the edit, or one of them"],
  ["f", "show the faces found"],
  ["i · Ctrl+Enter", "say what is to be corrected · save it"],
  ["?", "this list"],
];

const PAIR_HELP = "1 or ← the left is better · 0 or = equally good · 2 or → the right is better · u undo · Escape back";
