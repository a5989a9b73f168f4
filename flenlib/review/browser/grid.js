// The pages of the grid: which tiles are drawn, which pictures are selected, and where the cursor is among them.

class Grid {
  constructor(review) {
    Object.assign(this, { review, tiles: new Map(), page: 0, selected: new Set(), anchor: 0 });
    this.row = h("div", { role: "row" }); // to a screen reader a page is a row
    this.element = h("div", { class: "fr-grid", role: "grid", "aria-label": "pictures", "aria-multiselectable": "true" }, this.row);
  }

  namesOn(page) {
    const size = this.review.settings.page_size;
    return this.review.names.slice(page * size, (page + 1) * size);
  }

  get pages() {
    return Math.max(1, Math.ceil(this.review.names.length / this.review.settings.page_size));
  }

  get columns() {
    const tiles = [...this.row.children];
    const next = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
    return next > 0 ? next : Math.max(1, tiles.length);
  }

  // Draw a page from what is known of its pictures, and ask what is new of them; wait only where nothing is known.
  async draw(page) {
    const { review } = this;
    const { names, settings } = review;
    this.page = page;
    const wanted = this.namesOn(page);
    const asked = wanted.length ? review.ask("items", { names: wanted }) : null;
    if (wanted.some((name) => !review.items.has(name))) await asked;
    if (this.page !== page || review.names !== names || review.mode !== "grid") return;
    const had = review.hasFocus() && !["SELECT", "INPUT"].includes(document.activeElement.tagName);
    if (had) review.root.focus({ preventScroll: true });
    const items = wanted.map((name) => review.items.get(name)).filter(Boolean);
    this.tiles = new Map(items.map((item) => [item.name, new Tile(review, item)]));
    const nothing = settings.total ? "no picture matches this view" : `no pictures to review in ${settings.folder}`;
    this.row.replaceChildren(...[...this.tiles.values()].map((tile) => tile.element));
    this.row.setAttribute("aria-rowindex", page + 1);
    this.element.setAttribute("aria-rowcount", this.pages);
    review.body.replaceChildren(wanted.length ? this.element : h("p", { class: "fr-empty" }, nothing));
    review.bars.drawPage();
    if (had) review.focus();
    review.root.dataset.ready = page;
    clearTimeout(this.ahead);
    this.ahead = setTimeout(() => this.readAhead(page + 1), 300);
  }

  async readAhead(page) {
    const { items, pictures } = this.review;
    const names = this.namesOn(page).filter((name) => !items.has(name));
    if (!names.length || !(await this.review.ask("items", { names }))) return;
    for (const name of names)
      for (const picture of [items.get(name)?.picture, items.get(name)?.source])
        if (picture) pictures.thumbnail(picture).catch(() => {});
  }

  range(to) {
    return this.review.names.slice(Math.min(this.anchor, to), Math.max(this.anchor, to) + 1);
  }

  click(name, event) {
    const place = this.review.names.indexOf(name);
    const extend = event.shiftKey;
    if (!extend && (event.ctrlKey || event.metaKey)) this.toggle(name);
    else if (!extend && this.selected.size) this.select([]);
    this.review.go(place, extend);
  }

  toggle(name) {
    if (!name) return;
    const selected = new Set(this.selected);
    if (!selected.delete(name)) selected.add(name);
    this.select(selected);
  }

  select(names, moveAnchor = true) {
    const { review } = this;
    const before = this.selected;
    this.selected = new Set(names);
    if (moveAnchor) this.anchor = review.place;
    for (const name of new Set([...before, ...this.selected])) this.tiles.get(name)?.update(review.items.get(name));
    review.bars.drawPage();
    if (review.hasFocus()) review.focus();
  }

  close() {
    clearTimeout(this.ahead);
  }
}
