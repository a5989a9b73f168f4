// The review itself: which pictures, which one, what is selected; it asks the kernel and shows what came of it.

class Review {
  constructor(model, element) {
    this.root = h("div", { class: "fr-root", tabindex: "0", role: "group", "aria-label": "review of pictures" });
    element.append(this.root);
    this.kernel = new Kernel(
      model,
      (content) => content.items && Boolean(content.second) === Boolean(this.second) && this.take(content),
      (late) => this.bars && (this.bars.late.hidden = !late),
    );
    this.pictures = new Pictures(this.kernel);
    Object.assign(this, { names: [], items: new Map(), tiles: new Map(), page: 0, place: 0, mode: "grid", second: null });
    Object.assign(this, { selected: new Set(), anchor: 0, draft: new Set(), saving: new Map() });
    this.view = { label: "", reason: "", kind: "", face: "", order: "worst" };
  }

  async start() {
    this.told = await this.kernel.ask("open");
    this.pageSize = this.told.page_size;
    this.single = new Single(this);
    this.pairs = new Pairs(this);
    this.bars = new Bars(this);
    const { bars } = this;
    bars.late.textContent =
      "The kernel does not answer: it is busy, or gone. What is hatched is not saved. If it was restarted, run this cell again.";
    this.grid = h("div", { class: "fr-grid", role: "list", "aria-label": "pictures" });
    this.body = h("div", { class: "fr-body" }, this.grid);
    this.root.append(bars.meter, bars.top, bars.gaps, bars.middle, bars.selection, bars.help, this.body, bars.late, bars.status);
    this.silence = listenToKeys(this);
    this.look = () => {
      if (document.visibilityState === "visible") this.ask("look");
      else if (this.mode === "single") this.single.save();
    };
    document.addEventListener("visibilitychange", this.look);
    window.addEventListener("focus", this.look);
    this.leaving = (event) => this.saving.size && event.preventDefault();
    window.addEventListener("beforeunload", this.leaving);
    await this.show(this.view);
  }

  stop() {
    this.silence?.();
    document.removeEventListener("visibilitychange", this.look);
    window.removeEventListener("focus", this.look);
    window.removeEventListener("beforeunload", this.leaving);
    this.single?.close();
    this.pairs?.close();
    this.kernel.close();
  }

  get current() {
    return this.names[this.place];
  }

  onPage(page = this.page) {
    return this.names.slice(page * this.pageSize, (page + 1) * this.pageSize);
  }

  columns() {
    const tiles = [...this.grid.children];
    const next = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
    return next > 0 ? next : Math.max(1, tiles.length);
  }

  // Ask, and show what came of it; a refusal is said and never hides what is there.
  async ask(what, content = {}) {
    try {
      const reply = await this.kernel.ask(what, { ...content, ...(this.second ? { second: this.second } : {}) });
      this.take(reply);
      return reply;
    } catch (error) {
      this.say(error.message, true);
      return null;
    }
  }

  take(reply) {
    for (const item of reply.items ?? []) {
      this.items.set(item.name, item);
      this.redraw(item.name);
    }
    if (reply.gaps) for (const name of this.tiles.keys()) this.redraw(name);
    if (reply.progress) this.bars.drawProgress(reply.progress);
    if ("gaps" in reply) this.bars.drawGaps(reply.gaps);
    const refused = Object.values(reply.refused ?? {});
    if (refused.length) this.say(`not saved: ${refused.join("; ")}`, true);
    else if (reply.said) this.say(reply.said, reply.said.includes("another window"));
  }

  say(words, wrong = false) {
    this.bars.status.textContent = words;
    this.bars.status.toggleAttribute("data-wrong", wrong);
  }

  async show(view) {
    if (this.second) this.items.clear(); // what is known of them is blind
    this.second = null;
    this.view = { ...view };
    this.bars.drawFields();
    const reply = await this.ask("view", { view: this.view });
    if (reply) await this.fill(reply);
  }

  async fill(reply) {
    Object.assign(this, { names: reply.names, mode: "grid", selected: new Set() });
    this.anchor = reply.start;
    this.place = reply.start;
    await this.drawGrid(Math.floor(reply.start / this.pageSize));
  }

  async drawGrid(page) {
    this.page = page;
    const wanted = this.onPage();
    if (wanted.length) await this.ask("items", { names: wanted });
    if (this.page !== page || this.mode !== "grid") return;
    const had = this.hasFocus();
    if (had) this.root.focus({ preventScroll: true });
    this.tiles = new Map(wanted.map((name) => [name, new Tile(this, this.items.get(name))]));
    const nothing = this.told.total ? "no picture matches this view" : `no pictures to review in ${this.told.folder}`;
    this.grid.replaceChildren(...[...this.tiles.values()].map((tile) => tile.element));
    this.body.replaceChildren(wanted.length ? this.grid : h("p", { class: "fr-empty" }, nothing));
    this.bars.drawPage();
    if (had) this.focus();
    this.root.dataset.ready = page;
    clearTimeout(this.ahead);
    this.ahead = setTimeout(() => this.readAhead(page + 1), 300);
  }

  async readAhead(page) {
    const names = this.onPage(page).filter((name) => !this.items.has(name));
    if (!names.length || !(await this.ask("items", { names }))) return;
    for (const name of names)
      for (const picture of [this.items.get(name).picture, this.items.get(name).source])
        if (picture) this.pictures.thumbnail(picture).catch(() => {});
  }

  redraw(name) {
    const item = this.items.get(name);
    if (!item) return;
    this.tiles.get(name)?.update(item);
    if (this.mode === "single" && name === this.current) this.single.update(item);
  }

  hasFocus() {
    return this.root.contains(document.activeElement);
  }

  focus() {
    const places = { single: this.single.element, pairs: this.pairs.element };
    const target = places[this.mode] ?? this.tiles.get(this.current)?.element ?? this.root;
    target.focus({ preventScroll: true });
    if (this.mode === "grid") target.scrollIntoView({ block: "nearest" });
  }

  focused(name) {
    if (name !== this.current) this.go(this.names.indexOf(name), false, false);
  }

  async go(place, extend = false, focus = true) {
    if (!this.names.length) return;
    const before = this.current;
    this.place = Math.min(Math.max(place, 0), this.names.length - 1);
    if (before !== this.current) this.draft = new Set();
    if (extend) this.select(this.range(this.anchor, this.place), false);
    else this.anchor = this.place;
    const page = Math.floor(this.place / this.pageSize);
    if (this.mode === "single") {
      if (!this.items.has(this.current)) await this.ask("items", { names: [this.current] });
      return this.showSingle();
    }
    if (page !== this.page) await this.drawGrid(page);
    for (const name of [before, this.current]) this.redraw(name);
    if (focus) this.focus();
  }

  move(by, extend = false) {
    return this.go(this.place + by, extend);
  }

  async turn(by) {
    const last = Math.max(0, Math.ceil(this.names.length / this.pageSize) - 1);
    const page = Math.min(Math.max(this.page + by, 0), last);
    if (page !== this.page) await this.go(page * this.pageSize);
  }

  nextUndecided() {
    const ahead = [...this.names.keys()].map((n) => (this.place + 1 + n) % this.names.length);
    const found = ahead.find((place) => !this.items.get(this.names[place])?.decision);
    if (found === undefined) this.say("every picture of this view is decided");
    else this.go(found);
  }

  range(from, to) {
    return this.names.slice(Math.min(from, to), Math.max(from, to) + 1);
  }

  click(name, event) {
    const place = this.names.indexOf(name);
    if (event.shiftKey) {
      this.go(place, true);
    } else if (event.ctrlKey || event.metaKey) {
      this.toggle(name);
      this.go(place);
    } else {
      if (this.selected.size) this.select([]);
      this.go(place);
    }
  }

  toggle(name) {
    const selected = new Set(this.selected);
    if (!selected.delete(name)) selected.add(name);
    this.select(selected);
  }

  select(names, moveAnchor = true) {
    const before = this.selected;
    this.selected = new Set(names);
    if (moveAnchor) this.anchor = this.place;
    for (const name of new Set([...before, ...this.selected])) this.redraw(name);
    this.bars.drawPage();
    if (this.hasFocus()) this.focus();
  }

  selectAll() {
    this.select(this.names);
  }

  // A label is shown hatched until the kernel says that it is on disk.
  async decide(label, names = this.selected.size && this.mode === "grid" ? [...this.selected] : [this.current]) {
    names = names.filter(Boolean);
    if (!names.length) return;
    const known = names.map((name) => this.items.get(name)).filter(Boolean);
    const seen = Object.fromEntries(known.map((item) => [item.name, item.decision?.when ?? ""]));
    const reasons = this.draft.size ? [...this.draft] : null;
    const own = names.length === 1 && names[0] === this.current;
    const stays = this.mode === "single" && label === "needs_correction";
    this.draft = new Set();
    const saved = this.change("decide", { names, label, reasons, seen }, names, label);
    if (names.length > 1) this.select([]);
    else if (own && this.bars.advance.checked && !stays && this.place < this.names.length - 1) this.move(1);
    await saved;
  }

  async change(what, content, names, label) {
    for (const name of names) this.saving.set(name, label);
    names.forEach((name) => this.redraw(name));
    const reply = await this.ask(what, content);
    for (const name of names) this.saving.delete(name);
    names.forEach((name) => this.redraw(name));
    if (!reply || reply.said || Object.keys(reply.refused).length) return;
    const whom = names.length === 1 ? names[0] : `${names.length} pictures`;
    this.say(`saved ${new Date().toLocaleTimeString()}: ${whom}, ${LABELS[label].word}`);
  }

  reason(reason) {
    const item = this.items.get(this.current);
    if (!item) return;
    if (item.decision && !this.selected.size) {
      const reasons = new Set(item.decision.reasons);
      if (!reasons.delete(reason)) reasons.add(reason);
      const { label, when } = item.decision;
      const content = { names: [item.name], label, reasons: [...reasons], seen: { [item.name]: when } };
      this.change("decide", content, [item.name], label);
    } else {
      if (!this.draft.delete(reason)) this.draft.add(reason);
      this.redraw(this.current);
      this.say(`${[...this.draft].join(", ") || "no reason"}: saved with the label you give next`);
    }
  }

  undo() {
    return this.step("undo");
  }

  redo() {
    return this.step("redo");
  }

  async step(what) {
    const reply = await this.ask(what);
    const place = this.names.indexOf(reply?.items[0]?.name);
    if (place >= 0) await this.go(place);
  }

  async open(name, then = "") {
    if (!name) return;
    this.place = this.names.indexOf(name);
    this.mode = "single";
    if (this.hasFocus()) this.root.focus({ preventScroll: true });
    this.body.replaceChildren(this.single.element);
    this.showSingle();
    if (then === "issue") this.single.issue.focus();
    if (then === "zoom") this.single.look.toggle();
    if (then === "blink") this.single.blink();
    if (then === "faces" && !this.single.faces) this.single.toggleFaces();
  }

  showSingle() {
    this.single.show(this.items.get(this.current));
    this.bars.drawPage();
    this.focus();
    const next = this.items.get(this.names[this.place + 1]);
    if (next) this.pictures.full(next.picture).catch(() => {});
  }

  async close() {
    const back = this.mode !== "grid" || this.second;
    if (this.mode === "grid" && this.second) return this.show(this.view);
    this.mode = "grid";
    if (back) {
      this.root.focus({ preventScroll: true });
      await this.drawGrid(Math.floor(this.place / this.pageSize));
    }
    this.focus();
  }

  async compare() {
    this.mode = "pairs";
    this.root.focus({ preventScroll: true });
    this.body.replaceChildren(this.pairs.element);
    this.bars.drawPage();
    this.focus();
    await this.pairs.ask();
  }

  async lookAgain() {
    if (this.second) return this.show(this.view);
    const reply = await this.ask("view", { view: this.view, second: true });
    if (!reply) return;
    if (!reply.names.length) return this.say("nothing to look at twice yet: label some pictures first");
    this.items.clear();
    this.second = reply.names;
    await this.fill(reply);
    this.say(`a blind second look at ${reply.names.length} pictures: labels are hidden, and stay what they are`);
  }

  async reload() {
    this.pictures.reload();
    this.items.clear();
    await (this.second ? this.fill({ names: this.names, start: this.place }) : this.show(this.view));
  }

  async saveView(name, view) {
    try {
      const { views } = await this.kernel.ask("save_view", { name, view });
      this.told.views = views;
      this.bars.drawFields();
      this.say(view ? `view ${name} saved` : `view ${name} forgotten`);
    } catch (error) {
      this.say(error.message, true);
    }
    this.focus();
  }
}

export default {
  render({ model, el }) {
    const review = new Review(model, el);
    review.start().catch((error) => el.append(h("p", { role: "alert" }, `The review could not start: ${error.message}`)));
    return () => review.stop();
  },
};
