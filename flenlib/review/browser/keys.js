// Keys: what is typed inside the widget is the widget's, and reaches neither JupyterLab nor the notebook.

function keyName(event) {
  const control = event.ctrlKey || event.metaKey;
  return `${control ? "Ctrl+" : ""}${event.shiftKey && event.key.length > 1 ? "Shift+" : ""}${event.key}`;
}

function gridKeys(review) {
  const { grid } = review;
  const across = () => grid.columns;
  const page = review.settings.page_size;
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
    "Shift+PageUp": extend(() => -page),
    "Shift+PageDown": extend(() => page),
    "Shift+Home": () => review.go(0, true),
    "Shift+End": () => review.go(review.names.length - 1, true),
    Home: () => review.go(0),
    End: () => review.go(review.names.length - 1),
    PageUp: () => review.turn(-1),
    PageDown: () => review.turn(1),
    "[": () => review.turn(-1),
    "]": () => review.turn(1),
    " ": () => grid.toggle(review.current),
    "Ctrl+a": () => grid.select(grid.namesOn(grid.page)),
    Enter: () => review.open(review.current),
    Escape: () => grid.select([]),
    i: () => review.open(review.current, "issue"),
    s: () => review.open(review.current, "blink"),
    z: () => review.open(review.current, "zoom"),
    f: () => review.open(review.current, "faces"),
  };
}

function lookKeys(look) {
  const step = 80; // pixels
  return {
    z: () => look.toggle(),
    "+": () => look.zoom(1.25),
    "-": () => look.zoom(0.8),
    "Shift+ArrowLeft": () => look.pan(step, 0),
    "Shift+ArrowRight": () => look.pan(-step, 0),
    "Shift+ArrowUp": () => look.pan(0, step),
    "Shift+ArrowDown": () => look.pan(0, -step),
  };
}

function singleKeys(review) {
  const { single } = review;
  return {
    ...lookKeys(single.look),
    ArrowLeft: () => review.move(-1),
    ArrowRight: () => review.move(1),
    ArrowUp: () => review.move(-1),
    ArrowDown: () => review.move(1),
    Home: () => review.go(0),
    End: () => review.go(review.names.length - 1),
    Enter: () => review.close(),
    Escape: () => review.close(),
    s: () => single.blink(),
    v: () => single.toggleBeside(),
    f: () => single.toggleFaces(),
    i: () => single.correction.focus(),
  };
}

function pairKeys(review) {
  const { pairs } = review;
  return {
    ...lookKeys(pairs.look),
    1: () => pairs.answer(1),
    ArrowLeft: () => pairs.answer(1),
    2: () => pairs.answer(0),
    ArrowRight: () => pairs.answer(0),
    0: () => pairs.answer(0.5),
    "=": () => pairs.answer(0.5),
    u: () => pairs.ask({ undo: true }),
    Backspace: () => pairs.ask({ undo: true }),
    Escape: () => review.close(),
    "?": () => review.bars.toggleHelp(),
  };
}

function commonKeys(review) {
  const keys = {
    u: () => review.step("undo"),
    Backspace: () => review.step("undo"),
    "Ctrl+z": () => review.step("undo"),
    y: () => review.step("redo"),
    "Ctrl+y": () => review.step("redo"),
    "Ctrl+Z": () => review.step("redo"),
    n: () => review.nextUndecided(),
    "?": () => review.bars.toggleHelp(),
  };
  for (const [label, { keys: ours }] of Object.entries(LABELS)) for (const key of ours) keys[key] = () => review.decide(label);
  for (const [key, reason] of Object.entries(review.settings.reasons)) keys[key] = () => review.reason(reason);
  return keys;
}

// What a held key may repeat: moving, never labelling, undoing or turning something on and off.
const REPEATS = /^((Shift\+)?(Arrow\w+|Page\w+)|[[\]+-])$/;

// What a key does to the element that has the focus, and must go on doing.
function isOwn(name, at) {
  if (at.type === "checkbox") return name === " ";
  return at.tagName === "BUTTON" && (name === " " || name === "Enter");
}

// Listens on the window in the capture phase, which is before JupyterLab's own listener on the document.
function listenToKeys(review) {
  const listen = (event) => {
    const at = event.composedPath()[0];
    if (!review.root.contains(at)) return;
    event.stopImmediatePropagation();
    if (event.type !== "keydown" || event.isComposing) return;
    const name = keyName(event);
    if (name === "Ctrl+s") event.preventDefault();
    if (name === "Escape" && !review.bars.help.hidden) return event.preventDefault(), review.bars.toggleHelp();
    const writes = ["TEXTAREA", "INPUT"].includes(at.tagName) && at.type !== "checkbox";
    if (writes || at.tagName === "SELECT") {
      if (name === "Escape" || (writes && name === "Ctrl+Enter")) {
        event.preventDefault();
        review.focus(); // leaving what is to be corrected saves it
        if (name === "Ctrl+Enter" && review.mode === "single") review.single.correction.save(true);
      } else if (!writes) at.dataset.keyed = ""; // chosen by key: the next key is for it, too
      return;
    }
    if (isOwn(name, at) || event.altKey) return;
    const modes = { grid: gridKeys, single: singleKeys, pairs: pairKeys };
    const keys = { ...(review.mode === "pairs" ? {} : commonKeys(review)), ...modes[review.mode](review) };
    const act = keys[name] ?? keys[name.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    if (!event.repeat || REPEATS.test(name)) act();
  };
  const kinds = ["keydown", "keypress", "keyup"];
  for (const kind of kinds) window.addEventListener(kind, listen, true);
  return () => kinds.forEach((kind) => window.removeEventListener(kind, listen, true));
}
