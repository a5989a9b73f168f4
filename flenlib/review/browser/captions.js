// The caption editor: one picture with its caption, what the rules propose as a coloured difference, and replacement.

function difference(pieces) {
  const tags = { same: "span", cut: "del", new: "ins" };
  return h("p", { class: "fc-difference" }, pieces.map(([kind, text]) => h(tags[kind], {}, text)));
}

function sentences(found) {
  const line = (each) => h("li", { "data-severity": each.severity }, `${each.severity}: ${each.sentence}`);
  return h("ul", { class: "fc-findings" }, found.map(line));
}

class CaptionEditor {
  constructor(model, element) {
    this.root = h("div", { class: "fr-root fc-root", tabindex: "-1", role: "group", "aria-label": "caption editor" });
    element.append(this.root);
    this.late = h("div", { class: "fr-late", role: "alert" });
    this.kernel = new Kernel(model, () => {}, (late) => (this.late.textContent = late ? "the kernel is busy" : ""));
    this.pictures = new Pictures(this.kernel);
    Object.assign(this, { names: [], place: 0, faulty: false, item: null, saving: Promise.resolve() });
    this.place_of = h("span", { class: "fr-progress" });
    this.all = h("div");
    this.body = h("div", { class: "fc-pair" });
    this.status = h("p", { class: "fc-status", role: "status" });
    this.preview = h("div", { class: "fc-preview" });
    this.find = h("input", { "aria-label": "replace these words", placeholder: "words" });
    this.by = h("input", { "aria-label": "by these words", placeholder: "by (empty: take out)" });
    const only = choice("which pictures", { all: "all pictures", faulty: "with findings" }, "all", (value) => {
      this.faulty = value === "faulty";
      this.show(null);
    });
    const go = [button("←", "the picture before (left arrow)", () => this.move(-1)), button("→", "the next picture (right arrow)", () => this.move(1))];
    this.root.append(
      h("div", { class: "fr-bar" }, this.place_of, go, only, h("span", { class: "fr-space" }), this.find, this.by,
        button("preview", "show what would be replaced", () => this.look()), button("undo", "take back the last change (u)", () => this.undo())),
      this.preview, this.all, this.body, this.status, this.late,
    );
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.leaving = (event) => this.edited() && event.preventDefault();
    window.addEventListener("beforeunload", this.leaving);
  }

  get current() {
    return this.names[this.place];
  }

  edited() {
    return this.item && this.text && this.text.value !== this.item.caption;
  }

  // Questions go out one after another, so that every change is made on what the one before came to.
  then(work) {
    this.saving = this.saving.then(work).catch((error) => this.say(error.message));
    return this.saving;
  }

  say(text) {
    this.status.textContent = text;
  }

  show(name) {
    return this.then(async () => {
      const found = await this.kernel.ask("view", { faulty: this.faulty });
      this.names = found.names;
      this.place = Math.max(0, name ? found.names.indexOf(name) : Math.min(this.place, found.names.length - 1));
      this.all.replaceChildren(sentences(found.of_all));
      this.place_of.textContent = `${Math.min(this.place + 1, this.names.length)}/${this.names.length}, ${found.faulty} with findings`;
      if (!this.current) return this.body.replaceChildren(h("p", { class: "fr-empty" }, "no caption has a finding"));
      this.draw(await this.kernel.ask("item", { name: this.current }));
    });
  }

  draw(item) {
    this.item = item;
    this.text = h("textarea", { rows: 5, "aria-label": `caption of ${item.name}` });
    this.text.value = item.caption;
    const changed = item.proposed !== item.caption;
    this.body.replaceChildren(
      thumbnail(this.pictures, item.name, item.name),
      h("div", { class: "fc-words" },
        h("b", {}, item.name), this.text, sentences(item.findings),
        changed && h("div", { class: "fc-proposal" }, "the rules propose", difference(item.difference)),
        h("div", { class: "fr-bar" },
          button("accept", "take what the rules propose (Enter)", () => this.accept(), { disabled: !changed }),
          button("save", "keep what is written above (Control+Enter)", () => this.save()))),
    );
  }

  write(changes, next) {
    const name = this.current;
    return this.then(async () => {
      const answer = await this.kernel.ask("write", { changes });
      this.say(answer.said);
      this.item = null;
      this.preview.replaceChildren();
      if (next && !this.faulty) this.place = Math.min(this.place + 1, this.names.length - 1);
      this.root.focus({ preventScroll: true });
      this.show(next ? null : name);
    });
  }

  accept() {
    if (this.item && this.item.proposed !== this.item.caption) return this.write({ [this.item.name]: this.item.proposed }, true);
  }

  save() {
    if (this.edited()) return this.write({ [this.item.name]: this.text.value }, true);
    this.root.focus({ preventScroll: true });
  }

  undo() {
    return this.then(async () => {
      const answer = await this.kernel.ask("undo");
      this.say(answer.said);
      this.show(answer.changed[0] ?? this.current);
    });
  }

  // What is written and not saved is saved first: going on loses nothing.
  async move(by) {
    if (this.edited()) await this.write({ [this.item.name]: this.text.value }, false);
    await this.saving;
    this.place = Math.min(Math.max(this.place + by, 0), this.names.length - 1);
    return this.show(this.current);
  }

  look() {
    return this.then(async () => {
      const found = await this.kernel.ask("replace", { find: this.find.value, by: this.by.value });
      const names = Object.keys(found.changes);
      const rows = names.map((name) => h("div", {}, h("b", {}, name), difference(found.differences[name])));
      const apply = button(`replace in ${names.length}`, "change these captions", () => this.write(found.changes, false));
      this.preview.replaceChildren(...(names.length ? [apply, ...rows] : [h("p", {}, "no caption has these words")]));
    });
  }

  key(event) {
    const writing = ["TEXTAREA", "INPUT", "SELECT"].includes(event.target.tagName);
    if (event.target === this.text && event.key === "Escape") this.root.focus();
    else if (event.target === this.text && event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.save();
    else if (event.target === this.find || event.target === this.by) event.key === "Enter" && this.look();
    else if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
    else {
      const keys = {
        Enter: () => event.target.tagName !== "BUTTON" && this.accept(), e: () => this.text?.focus(), u: () => this.undo(),
        ArrowRight: () => this.move(1), ArrowLeft: () => this.move(-1),
      };
      if (!keys[event.key] || (event.key === "Enter" && event.target.tagName === "BUTTON")) return;
      keys[event.key]();
      event.preventDefault();
    }
  }

  close() {
    window.removeEventListener("beforeunload", this.leaving);
    this.kernel.close();
  }
}

export default {
  render({ model, el }) {
    const editor = new CaptionEditor(model, el);
    editor.show(null);
    return () => editor.close();
  },
};
