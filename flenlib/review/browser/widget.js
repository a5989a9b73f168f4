// The review itself: which pictures, which one, and how they are shown; it asks the kernel and shows what came of it.

class Review {
  constructor(model, element) {
    this.root = h("div", { class: "fr-root", tabindex: "-1", role: "group", "aria-label": "review of pictures" });
    this.body = h("div", { class: "fr-body" }, h("p", { class: "fr-empty", role: "status" }, "waiting for the kernel"));
    this.late = h("div", { class: "fr-late", role: "alert" });
    this.root.append(this.body, this.late);
    element.append(this.root);
    this.kernel = new Kernel(
      model,
      (content) => content.items && Boolean(content.second) === Boolean(this.second) && this.take(content),
      (late) => (this.late.textContent = late ? LATE : ""),
    );
    this.pictures = new Pictures(this.kernel);
    this.saves = new Saves(this);
    Object.assign(this, { names: [], items: new Map(), dates: new Map(), draft: new Set() });
    Object.assign(this, { place: 0, mode: "grid", second: null, settings: null });
    this.view = { label: "", reason: "", kind: "", face: "", order: "worst" };
  }

  async start() {
    const settings = await this.kernel.ask("open");
    this.settings = settings; // until now nothing is drawn that others' answers could change
    this.grid = new Grid(this);
    this.single = new Single(this);
    this.pairs = new Pairs(this);
    this.bars = new Bars(this);
    const { bars } = this;
    this.root.prepend(bars.meter, bars.top, bars.gaps, bars.middle, bars.selection, bars.help);
    this.root.append(bars.status);
    this.silence = listenToKeys(this);
    listenToDrops(this);
    this.look = () => {
      if (document.visibilityState === "visible") this.askAndLook("look");
      else if (this.mode === "single") this.single.correction.save();
    };
    document.addEventListener("visibilitychange", this.look);
    window.addEventListener("focus", this.look);
    this.leaving = (event) => (this.saves.edits.size || this.single.correction.drafts.size) && event.preventDefault();
    window.addEventListener("beforeunload", this.leaving);
    await this.show(this.view);
    if (settings.said) this.say(settings.said, true);
  }

  fail(error) {
    this.body.replaceChildren(h("p", { role: "alert" }, `The review could not start: ${error.message}`));
  }

  stop() {
    this.silence?.();
    document.removeEventListener("visibilitychange", this.look);
    window.removeEventListener("focus", this.look);
    window.removeEventListener("beforeunload", this.leaving);
    for (const part of [this.grid, this.single, this.pairs, this.kernel]) part?.close();
  }

  get current() {
    return this.names[this.place];
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

  // The same where decisions may have changed: in a strict review what a picture adds depends on all that are picked.
  askAndLook(what, content = {}) {
    const strict = this.settings.strict && this.mode === "grid" && !this.second;
    return this.ask(what, strict ? { ...content, page: [...this.grid.tiles.keys()] } : content);
  }

  take(reply) {
    if (!this.settings) return;
    for (const item of reply.items ?? []) {
      this.items.set(item.name, item);
      this.redraw(item.name);
    }
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
    await this.saves.settled();
    if (this.second) this.items.clear(); // what is known of them is blind
    this.second = null;
    const wanted = (this.view = { ...view });
    this.bars.drawFields();
    const reply = await this.ask("view", { view });
    if (reply && this.view === wanted && !this.second) await this.fill(reply);
  }

  async fill(reply) {
    Object.assign(this, { names: reply.names, mode: "grid", place: reply.start });
    this.dates = new Map(reply.names.map((name, n) => [name, reply.dates[n]]));
    Object.assign(this.grid, { selected: new Set(), anchor: reply.start });
    await this.grid.draw(Math.floor(reply.start / this.settings.page_size));
  }

  // The date of the decision that is shown, or known where the picture's page was not drawn yet; empty: undecided.
  when(name) {
    const item = this.items.get(name);
    return item ? (item.decision?.when ?? "") : (this.dates.get(name) ?? "");
  }

  redraw(name) {
    const item = this.items.get(name);
    if (!item) return;
    this.grid.tiles.get(name)?.update(item);
    if (this.mode === "single" && name === this.single.item?.name) this.single.update(item);
  }

  hasFocus() {
    return this.root.contains(document.activeElement);
  }

  focus() {
    const places = { single: this.single.element, pairs: this.pairs.element };
    const target = places[this.mode] ?? this.grid.tiles.get(this.current)?.element ?? this.root;
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
    if (!extend) this.grid.anchor = this.place;
    if (this.mode === "single") return this.showSingle();
    if (extend) this.grid.select(this.grid.range(this.place), false);
    const page = Math.floor(this.place / this.settings.page_size);
    if (page !== this.grid.page) await this.grid.draw(page);
    for (const name of [before, this.current]) this.redraw(name);
    if (focus) this.focus();
  }

  move(by, extend = false) {
    return this.go(this.place + by, extend);
  }

  async turn(by) {
    const page = Math.min(Math.max(this.grid.page + by, 0), this.grid.pages - 1);
    if (page !== this.grid.page) await this.go(page * this.settings.page_size);
  }

  nextUndecided() {
    const ahead = [...this.names.keys()].map((n) => (this.place + 1 + n) % this.names.length);
    const found = ahead.find((place) => !this.when(this.names[place]));
    if (found === undefined) this.say("every picture of this view is decided");
    else this.go(found);
  }

  // Label one picture, or without a name the selected ones, or else the current one; only what can be seen is labelled.
  async decide(label, name = "") {
    const selected = !name && this.mode === "grid" && this.grid.selected.size > 0;
    const names = selected ? [...this.grid.selected] : [name || this.current].filter(Boolean);
    if (!names.length) return;
    if (!selected && !this.isSeen(names[0])) return this.say(UNSEEN, true);
    const reasons = this.draft.size ? [...this.draft] : null;
    const stays = this.mode === "single" && label === "needs_correction";
    const own = names.length === 1 && names[0] === this.current;
    this.draft = new Set();
    const saved = this.saves.decide(names, label, reasons);
    if (selected) this.grid.select([]);
    if (own && this.bars.advance.checked && !stays && this.place < this.names.length - 1) this.move(1);
    await saved;
  }

  // Give or take back a reason: of a decided picture at once, else with the label that is given next.
  async reason(reason) {
    const name = this.current;
    if (!name) return;
    if (!this.isSeen(name)) return this.say(UNSEEN, true);
    const selected = this.mode === "grid" && this.grid.selected.size > 0;
    if (this.saves.decision(name) && !selected) return this.saves.reason(name, reason);
    if (!this.draft.delete(reason)) this.draft.add(reason);
    this.redraw(name);
    this.say(`${[...this.draft].join(", ") || "no reason"}: saved with the label you give next`);
  }

  isSeen(name) {
    return this.mode === "single" ? this.single.shows(name) : Boolean(this.grid.tiles.get(name)?.settled);
  }

  async step(what) {
    const reply = await this.saves.step(what);
    const place = this.names.indexOf(reply?.changed[0]);
    if (place >= 0) await this.go(place);
  }

  async open(name, then = "") {
    if (!name || !this.items.has(name)) return;
    this.place = this.names.indexOf(name);
    this.mode = "single";
    if (this.hasFocus()) this.root.focus({ preventScroll: true });
    this.body.replaceChildren(this.single.element);
    this.showSingle();
    if (then === "issue") this.single.correction.focus();
    if (then === "zoom") this.single.look.toggle();
    if (then === "blink") this.single.blink();
    if (then === "faces" && !this.single.faces) this.single.toggleFaces();
  }

  async showSingle() {
    const name = this.current;
    if (!this.items.has(name)) await this.ask("items", { names: [name] });
    if (this.mode !== "single" || name !== this.current || !this.items.has(name)) return;
    this.single.show(this.items.get(name));
    this.bars.drawPage();
    this.focus();
    const next = this.items.get(this.names[this.place + 1]);
    if (next) this.pictures.full(next.picture).catch(() => {});
  }

  async close() {
    const back = this.mode !== "grid";
    if (!back && this.second) return this.show(this.view);
    this.mode = "grid";
    if (back) {
      this.root.focus({ preventScroll: true });
      await this.grid.draw(Math.floor(this.place / this.settings.page_size));
    }
    this.focus();
  }

  async compare() {
    if (this.second) await this.show(this.view);
    this.mode = "pairs";
    this.root.focus({ preventScroll: true });
    this.body.replaceChildren(this.pairs.element);
    this.bars.drawPage();
    this.focus();
    await this.pairs.ask();
  }

  async lookAgain() {
    if (this.second) return this.show(this.view);
    await this.saves.settled();
    const reply = await this.ask("view", { view: this.view, second: true });
    if (!reply) return;
    if (!reply.names.length) return this.say("nothing to look at twice yet: label some pictures first");
    this.items.clear();
    this.second = reply.names;
    await this.fill(reply);
    this.say(`a blind second look at ${reply.names.length} pictures: labels are hidden, and stay what they are`);
  }

  async reload() {
    await this.saves.settled();
    this.pictures.reload();
    this.items.clear();
    if (this.second) await this.grid.draw(this.grid.page);
    else await this.show(this.view);
  }

  async saveView(name, view) {
    try {
      const { views } = await this.kernel.ask("save_view", { name, view });
      this.settings.views = views;
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
    review.start().catch((error) => review.fail(error));
    return () => review.stop();
  },
};
