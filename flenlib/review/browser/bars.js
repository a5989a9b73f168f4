// What lies around the pictures: progress, filters, saved views, pages, the selection, gaps, messages, help.

class Bars {
  constructor(review) {
    this.review = review;
    const { told } = review;
    const plain = (word, title, click, more = {}) =>
      h("button", { class: "fr-button", title, "aria-label": title, onclick: click, ...more }, word);
    this.fill = Object.keys(LABELS).map((label) => h("i", { "data-label": label }));
    this.meter = h("div", { class: "fr-meter", role: "progressbar", "aria-valuemin": "0", "aria-label": "decided" }, this.fill);
    this.progress = h("span", { class: "fr-progress" });
    this.person = h("span", { class: "fr-person" }, told.person && `by ${told.person}`);
    this.advance = h("input", { type: "checkbox", checked: true });
    this.modes = {
      grid: plain("grid", "all pictures", () => review.close(), { "aria-pressed": "true" }),
      pairs: plain("pairs", "which of two is better", () => review.compare(), { "aria-pressed": "false" }),
      second: plain("second look", "judge some again without seeing their label", () => review.lookAgain(), {
        "aria-pressed": "false",
      }),
    };
    this.top = h("div", { class: "fr-bar" }, [
      this.progress,
      this.person,
      h("span", { class: "fr-space" }),
      Object.values(this.modes),
      plain("↶", "undo (u)", () => review.undo()),
      plain("↷", "redo (y)", () => review.redo()),
      plain("reload", "read journal and pictures again", () => review.reload()),
      plain("?", "keys (?)", () => this.toggleHelp()),
    ]);
    this.fields = h("span", { class: "fr-fields" });
    this.back = plain("‹", "previous page (Page Up)", () => review.turn(-1));
    this.forward = plain("›", "next page (Page Down)", () => review.turn(1));
    this.page = h("span", { class: "fr-page" });
    this.size = choice("size of the pictures", { 96: "small", 144: "medium", 208: "large" }, "144", (value) =>
      review.root.style.setProperty("--fr-size", `${value}px`),
    );
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
      h("span", { class: "fr-labels" }, labelButtons(review, () => [...review.selected])),
      plain("all of this view", "select every picture of this view", () => review.selectAll()),
      plain("select nothing", "Escape", () => review.select([])),
    ]);
    this.gaps = h("div", { class: "fr-gaps" });
    this.status = h("div", { class: "fr-status", role: "status", "aria-live": "polite" });
    this.late = h("div", { class: "fr-late", role: "alert" });
    this.late.hidden = this.selection.hidden = true;
    this.help = h("div", { class: "fr-help", role: "dialog", "aria-label": "keys", tabindex: "-1" });
    this.help.hidden = true;
    const list = (rows) => h("div", { class: "fr-list" }, rows.flatMap(([keys, what]) => [h("b", {}, keys), h("span", {}, what)]));
    this.help.append(
      h("div", { class: "fr-columns" }, list(HELP), list(Object.entries(told.reasons))),
      h("p", {}, "A reason may come before the label or after it. The worst face comes first, and a tenth at random places."),
      plain("close", "close (Escape)", () => this.toggleHelp()),
    );
    this.drawFields();
  }

  drawFields() {
    const { review } = this;
    const { told, view } = review;
    const set = (name) => (value) => review.show({ ...view, [name]: value });
    const same = (words, first) => ({ "": first, ...Object.fromEntries(words.map((word) => [word, word])) });
    const labels = Object.fromEntries(Object.entries(LABELS).map(([label, { word }]) => [label, word]));
    const saved = { "": "saved views", ...Object.fromEntries(Object.keys(told.views).map((n) => [n, n])), "+": "save this view…" };
    this.named = Object.keys(told.views).find((name) => told.views[name] && sameView(told.views[name], view)) ?? "";
    if (this.fields.contains(document.activeElement)) review.root.focus({ preventScroll: true });
    this.fields.replaceChildren(
      choice("label", { "": "any label", undecided: "undecided", suggested: "suggested", ...labels }, view.label, set("label")),
      choice("reason", same(told.known_reasons, "any reason"), view.reason, set("reason")),
      choice("kind", same(told.kinds, "any kind"), view.kind, set("kind")),
      choice("face", FACES, view.face, set("face")),
      choice("order", ORDERS, view.order, set("order")),
      choice("saved views", saved, this.named, (name) => (name === "+" ? this.nameView() : name && review.show(told.views[name]))),
      ...(this.named
        ? [h("button", { class: "fr-button", title: "forget this saved view", onclick: () => review.saveView(this.named, null) }, "forget")]
        : []),
    );
  }

  nameView() {
    const field = h("input", { type: "text", "aria-label": "name of the view", placeholder: "name, then Enter" });
    const keep = () => field.value.trim() && this.review.saveView(field.value.trim(), this.review.view);
    field.addEventListener("change", keep);
    field.addEventListener("blur", () => this.drawFields());
    this.fields.append(field);
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
    const words = h("div", { class: "fr-picked", "data-enough": enough }, `${gaps.picked} picked, aim ${low} to ${high}`);
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
    const pages = Math.max(1, Math.ceil(review.names.length / review.pageSize));
    this.page.textContent = `page ${review.page + 1} of ${pages} · ${review.names.length} pictures`;
    this.back.setAttribute("aria-disabled", review.page === 0);
    this.forward.setAttribute("aria-disabled", review.page >= pages - 1);
    this.count.textContent = `${review.selected.size} selected`;
    this.selection.hidden = review.selected.size === 0;
    for (const [mode, button] of Object.entries(this.modes))
      button.setAttribute("aria-pressed", mode === "second" ? Boolean(review.second) : mode === review.mode);
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
