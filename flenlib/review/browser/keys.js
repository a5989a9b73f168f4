// Keys: what is typed inside the widget is the widget's, and reaches neither JupyterLab nor the notebook.

function keyName(event) {
  const control = event.ctrlKey || event.metaKey;
  return `${control ? "Ctrl+" : ""}${event.shiftKey && event.key.length > 1 ? "Shift+" : ""}${event.key}`;
}

function gridKeys(review) {
  const across = () => review.columns();
  const move = (by) => () => review.move(by());
  const extend = (by) => () => review.move(by(), true);
  return {
    ArrowLeft: move(() => -1),
    ArrowRight: move(() => 1),
    ArrowUp: move(() => -across()),
    ArrowDown: move(across),
    "Shift+ArrowLeft": extend(() => -1),
    "Shift+ArrowRight": extend(() => 1),
    "Shift+ArrowUp": extend(() => -across()),
    "Shift+ArrowDown": extend(across),
    Home: () => review.go(0),
    End: () => review.go(review.names.length - 1),
    PageUp: () => review.turn(-1),
    PageDown: () => review.turn(1),
    "[": () => review.turn(-1),
    "]": () => review.turn(1),
    " ": () => review.toggle(review.current),
    "Ctrl+a": () => review.select(review.onPage()),
    Enter: () => review.open(review.current),
    Escape: () => review.select([]),
    i: () => review.open(review.current, "issue"),
    s: () => review.open(review.current, "blink"),
    z: () => review.open(review.current, "zoom"),
    f: () => review.open(review.current, "faces"),
  };
}

function singleKeys(review) {
  const { single } = review;
  return {
    ArrowLeft: () => review.move(-1),
    ArrowRight: () => review.move(1),
    ArrowUp: () => review.move(-1),
    ArrowDown: () => review.move(1),
    Home: () => review.go(0),
    End: () => review.go(review.names.length - 1),
    Enter: () => review.close(),
    Escape: () => review.close(),
    z: () => single.look.toggle(),
    s: () => single.blink(),
    v: () => single.toggleBeside(),
    f: () => single.toggleFaces(),
    i: () => single.issue.focus(),
  };
}

function pairKeys(review) {
  const { pairs } = review;
  return {
    1: () => pairs.answer(1),
    ArrowLeft: () => pairs.answer(1),
    2: () => pairs.answer(0),
    ArrowRight: () => pairs.answer(0),
    0: () => pairs.answer(0.5),
    "=": () => pairs.answer(0.5),
    u: () => pairs.ask({ undo: true }),
    Backspace: () => pairs.ask({ undo: true }),
    z: () => pairs.look.toggle(),
    Escape: () => review.close(),
    "?": () => review.bars.toggleHelp(),
  };
}

function commonKeys(review) {
  const keys = {
    u: () => review.undo(),
    Backspace: () => review.undo(),
    "Ctrl+z": () => review.undo(),
    y: () => review.redo(),
    "Ctrl+y": () => review.redo(),
    "Ctrl+Z": () => review.redo(),
    n: () => review.nextUndecided(),
    "?": () => review.bars.toggleHelp(),
  };
  for (const [label, { keys: ours }] of Object.entries(LABELS)) for (const key of ours) keys[key] = () => review.decide(label);
  for (const [key, reason] of Object.entries(review.told.reasons)) keys[key] = () => review.reason(reason);
  return keys;
}

// Listens on the window in the capture phase, which is before JupyterLab's own listener on the document.
function listenToKeys(review) {
  const own = { Enter: ["BUTTON", "SELECT"], " ": ["BUTTON", "SELECT"] }; // what these keys do to such an element stays
  const listen = (event) => {
    const at = event.composedPath()[0];
    if (!review.root.contains(at)) return;
    event.stopImmediatePropagation();
    if (event.type !== "keydown" || event.isComposing) return;
    const name = keyName(event);
    if (name === "Ctrl+s") event.preventDefault();
    if (name === "Escape" && !review.bars.help.hidden) return event.preventDefault(), review.bars.toggleHelp();
    if (["TEXTAREA", "INPUT"].includes(at.tagName) && at.type !== "checkbox") {
      if (name === "Escape" || name === "Ctrl+Enter") {
        event.preventDefault();
        review.focus(); // leaving a field saves it
      }
      return;
    }
    if (at.tagName === "SELECT" || own[event.key]?.includes(at.tagName) || event.altKey) return;
    const modes = { grid: gridKeys, single: singleKeys, pairs: pairKeys };
    const keys = { ...(review.mode === "pairs" ? {} : commonKeys(review)), ...modes[review.mode](review) };
    const act = keys[name] ?? keys[name.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  };
  const kinds = ["keydown", "keypress", "keyup"];
  for (const kind of kinds) window.addEventListener(kind, listen, true);
  return () => kinds.forEach((kind) => window.removeEventListener(kind, listen, true));
}
