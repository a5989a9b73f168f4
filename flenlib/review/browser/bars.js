// What lies around the pictures: progress, filters, saved views, pages, the selection, gaps, messages, help.

class Bars {
  constructor(review) {
    this.review = review;
    const { settings } = review;
    this.fill = Object.keys(LABELS).map((label) => h("i", { "data-label": label }));
    this.meter = h("div", { class: "fr-meter", role: "progressbar", "aria-valuemin": "0", "aria-label": "decided" }, this.fill);
    this.progress = h("span", { class: "fr-progress" });
    this.person = h("span", { class: "fr-person" }, settings.person && `by ${settings.person}`);
    this.advance = h("input", { type: "checkbox", checked: true });
    this.modes = {
      grid: button("grid", "all pictures", () => review.close(), { "aria-pressed": "true" }),
      pairs: button("pairs", "which of two is better", () => review.compare(), { "aria-pressed": "false" }),
      second: button("second look", "judge some again without seeing their label", () => review.lookAgain(), {
        "aria-pressed": "false",
      }),
    };
    this.top = h("div", { class: "fr-bar" }, [
      this.progress,
      this.person,
      h("span", { class: "fr-space" }),
      Object.values(this.modes),
      button("↶", "undo (u)", () => review.step("undo")),
      button("↷", "redo (y)", () => review.step("redo")),
      button("reload", "read journal and pictures again", () => review.reload()),
      button("?", "keys (?)", () => this.toggleHelp()),
    ]);
    this.fields = this.makeFields();
    this.back = button("‹", "previous page (Page Up)", () => review.turn(-1));
    this.forward = button("›", "next page (Page Down)", () => review.turn(1));
    this.page = h("span", { class: "fr-page" });
    this.size = choice("size of the pictures", { 96: "small", 144: "medium", 208: "large" }, "144", (value) => {
      review.root.style.setProperty("--fr-size", `${value}px`);
      this.release(this.size);
    });
    const advance = h("label", { title: "after a label go to the next picture" }, this.advance, " move on");
    this.middle = h("div", { class: "fr-bar fr-filters" }, [
      this.fields,
      h("span", { class: "fr-space" }),
      advance,
      this.size,
      h("span", { class: "fr-pages" }, this.back, this.page, this.forward),
    ]);
    this.count = h("b");
    this.selection = h("div", { class: "fr-bar fr-selection", role: "group", "aria-label": "selected pictures" }, [
      this.count,
      h("span", { class: "fr-labels" }, labelButtons(review, () => "")),
      button("all of this view", "select every picture of this view", () => review.grid.select(review.names)),
      button("select nothing", "Escape", () => review.grid.select([])),
    ]);
    this.gaps = h("div", { class: "fr-gaps" });
    this.status = h("div", { class: "fr-status", role: "status", "aria-live": "polite" });
    this.selection.hidden = true;
    this.help = h("div", { class: "fr-help", role: "dialog", "aria-label": "keys", tabindex: "-1" });
    this.help.hidden = true;
    const list = (rows) => h("div", { class: "fr-list" }, rows.flatMap(([keys, what]) => [h("b", {}, keys), h("span", {}, what)]));
    this.help.append(
      h("div", { class: "fr-columns" }, list(HELP), list(Object.entries(settings.reasons))),
      h("p", {}, "A reason may come before the label or after it. The worst face comes first, and a tenth at random places."),
      button("close", "close (Escape)", () => this.toggleHelp()),
    );
    this.drawFields();
  }

  // The filters stay the same elements, so that one keeps the focus while another view is drawn.
  makeFields() {
    const { review } = this;
    const { settings } = review;
    const same = (words, first) => ({ "": first, ...Object.fromEntries(words.map((word) => [word, word])) });
    const labels = Object.fromEntries(Object.entries(LABELS).map(([label, { word }]) => [label, word]));
    const options = {
      label: { "": "any label", undecided: "undecided", suggested: "suggested", ...labels },
      reason: same(settings.known_reasons, "any reason"),
      kind: same(settings.kinds, "any kind"),
      face: FACES,
      order: ORDERS,
    };
    this.filters = {};
    for (const [name, offered] of Object.entries(options))
      this.filters[name] = choice(name, offered, "", (value) =>
        this.chosen(this.filters[name], { ...review.view, [name]: value }),
      );
    this.saved = choice("saved views", {}, "", (name) => {
      if (name === "+") this.nameView();
      else if (name) this.chosen(this.saved, settings.views[name]);
    });
    this.forget = button("forget", "forget this saved view", () => review.saveView(this.saved.value, null));
    return h("span", { class: "fr-fields" }, Object.values(this.filters), this.saved, this.forget);
  }

  async chosen(select, view) {
    await this.review.show(view);
    this.release(select);
  }

  // With the mouse the choice is made, and keys are for the pictures again; with keys one may still be choosing.
  release(select) {
    if (!("keyed" in select.dataset)) this.review.focus();
  }

  drawFields() {
    const { settings, view } = this.review;
    for (const [name, select] of Object.entries(this.filters)) select.value = view[name];
    const names = Object.keys(settings.views);
    const named = names.find((name) => sameView(settings.views[name], view)) ?? "";
    const offered = { "": "saved views", ...Object.fromEntries(names.map((name) => [name, name])), "+": "save this view…" };
    offer(this.saved, offered, named);
    this.forget.hidden = !named;
  }

  // Enter saves the view under that name; leaving the field any other way does not.
  nameView() {
    const field = h("input", { type: "text", "aria-label": "name of the view", placeholder: "name, then Enter" });
    const form = h("form", {}, field);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (name) this.review.saveView(name, this.review.view);
    });
    field.addEventListener("blur", () => {
      form.remove();
      this.drawFields();
    });
    this.fields.append(form);
    field.focus();
  }

  toggleHelp() {
    this.help.hidden = !this.help.hidden;
    if (this.help.hidden) this.review.focus();
    else this.help.focus();
  }

  drawProgress(progress) {
    this.progress.textContent = progress.words.join(" · ");
    for (const part of this.fill)
      part.style.width = `${progress.total ? (100 * progress.counts[part.dataset.label]) / progress.total : 0}%`;
    this.meter.setAttribute("aria-valuemax", progress.total);
    this.meter.setAttribute("aria-valuenow", progress.done);
    this.meter.setAttribute("aria-valuetext", progress.words.join(", "));
  }

  drawGaps(gaps) {
    this.gaps.hidden = !gaps;
    if (!gaps) return;
    const [low, high] = gaps.target;
    const enough = gaps.picked >= low && gaps.picked <= high;
    const words = h("div", { class: "fr-picked", "data-enough": enough }, gaps.words);
    const fields = grouped(gaps.rows);
    const lines = [...fields].map(([field, rows]) =>
      h("div", { class: "fr-gap-line" }, [
        h("span", { class: "fr-gap-field" }, field),
        rows.map(({ value, have, picked }) =>
          h(
            "span",
            {
              class: "fr-gap",
              "data-lacks": have + picked === 0,
              "data-new": picked > 0,
              title: `${value}: ${have} there already, ${picked} picked`,
            },
            `${value} ${have}${picked ? `+${picked}` : ""}`,
          ),
        ),
      ]),
    );
    this.gaps.replaceChildren(words, ...lines);
  }

  drawPage() {
    const { review } = this;
    const { page, pages, selected } = review.grid;
    this.page.textContent = `page ${page + 1} of ${pages} · ${review.names.length} pictures`;
    this.back.setAttribute("aria-disabled", page === 0);
    this.forward.setAttribute("aria-disabled", page >= pages - 1);
    this.count.textContent = `${selected.size} selected`;
    this.selection.hidden = selected.size === 0 || review.mode !== "grid";
    for (const [mode, each] of Object.entries(this.modes))
      each.setAttribute("aria-pressed", mode === "second" ? Boolean(review.second) : mode === review.mode);
    this.middle.hidden = review.mode !== "grid";
  }
}

function sameView(a, b) {
  return ["label", "reason", "kind", "face", "order"].every((name) => (a[name] ?? "") === (b[name] ?? ""));
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.field, [...(found.get(row.field) ?? []), row]);
  return found;
}
