// Parts everything is made of: elements, questions to the kernel, and pictures fetched once.

// JupyterLab takes single letters as commands (x cuts a cell) unless the focused element itself says it wants them.
const FOCUSABLE = new Set(["button", "select", "input", "textarea"]);

function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (/^(aria|data)-/.test(name)) element.setAttribute(name, String(value ?? ""));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  if (FOCUSABLE.has(tag) || "tabindex" in properties) element.dataset.lmSuppressShortcuts = "true";
  if (tag === "button") element.type = "button";
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

// A button is named by its word, or by its title where the word is a sign.
function button(word, title, click, more = {}) {
  const name = /[a-z0-9]/i.test(word) ? {} : { "aria-label": title };
  return h("button", { class: "fr-button", title, ...name, onclick: click, ...more }, word);
}

function offer(select, options, chosen) {
  const make = ([value, word]) => h("option", { value, selected: value === chosen }, word);
  select.replaceChildren(...Object.entries(options).map(make));
  select.value = chosen;
}

function choice(label, options, chosen, change) {
  const select = h("select", {
    "aria-label": label,
    title: label,
    onchange: () => change(select.value),
    onpointerdown: () => delete select.dataset.keyed,
  });
  offer(select, options, chosen);
  return select;
}

// One question at a time gets one answer, by number; every window of a kernel hears every answer.
class Kernel {
  constructor(model, overheard, late) {
    Object.assign(this, { model, overheard, late });
    this.me = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.count = 0;
    this.waiting = new Map();
    this.receive = (content, buffers) => {
      const asked = this.waiting.get(content.to);
      if (!asked) return this.overheard(content);
      this.waiting.delete(content.to);
      clearTimeout(asked.timer);
      this.late(this.isLate());
      if (content.error) asked.reject(new Error(content.error));
      else asked.resolve({ ...content, buffers });
    };
    model.on("msg:custom", this.receive);
  }

  ask(what, content = {}, buffers = []) {
    const id = `${this.me}-${(this.count += 1)}`;
    return new Promise((resolve, reject) => {
      const asked = { resolve, reject, late: false };
      asked.timer = setTimeout(() => {
        asked.late = true;
        this.late(true);
      }, 5000);
      this.waiting.set(id, asked);
      try {
        this.model.send({ ask: what, id, ...content }, undefined, buffers);
      } catch (error) {
        clearTimeout(asked.timer);
        this.waiting.delete(id);
        reject(new Error(`the kernel cannot be reached (${error.message}); run this cell again`));
      }
    });
  }

  isLate() {
    return [...this.waiting.values()].some((asked) => asked.late);
  }

  close() {
    this.model.off("msg:custom", this.receive);
    for (const asked of this.waiting.values()) clearTimeout(asked.timer);
  }
}

class Pictures {
  constructor(kernel) {
    this.kernel = kernel;
    this.small = new Map();
    this.large = new Map();
  }

  thumbnail(picture) {
    if (!this.small.has(picture)) this.small.set(picture, this.fetch("thumbnail", picture, this.small));
    return this.small.get(picture);
  }

  full(picture) {
    if (!this.large.has(picture)) {
      this.large.set(picture, this.fetch("full", picture, this.large));
      if (this.large.size > 16) this.forget(this.large.keys().next().value);
    }
    return this.large.get(picture);
  }

  async fetch(what, picture, cache) {
    try {
      const answer = await this.kernel.ask(what, { picture });
      return { url: URL.createObjectURL(new Blob(answer.buffers, { type: answer.type })), size: answer.size };
    } catch (error) {
      cache.delete(picture); // so that a picture put back is seen when it is next asked for
      throw error;
    }
  }

  forget(picture) {
    this.large.get(picture)?.then((found) => URL.revokeObjectURL(found.url)).catch(() => {});
    this.large.delete(picture);
  }

  reload() {
    this.small.clear();
    this.large.clear();
  }
}

// A thumbnail, or a word on why there is none.
function thumbnail(pictures, picture, alt) {
  const image = h("img", { alt, draggable: "false" });
  const frame = h("span", { class: "fr-frame" }, image);
  pictures.thumbnail(picture).then(
    (found) => (image.src = found.url),
    (error) => frame.replaceChildren(h("span", { class: "fr-missing" }, error.message)),
  );
  return frame;
}
