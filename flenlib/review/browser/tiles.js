// The grid: one tile a picture, with its labels; what is not on disk yet looks different from what is.

function labelButtons(review, whom) {
  return Object.entries(LABELS).map(([label, { word, sign, keys }]) =>
    h(
      "button",
      {
        class: "fr-label",
        "data-label": label,
        tabindex: "-1",
        title: `${word} (${keys.join(" or ")})`,
        "aria-label": word,
        "aria-pressed": "false",
        onclick: (event) => {
          event.stopPropagation();
          review.decide(label, whom());
        },
      },
      h("span", { "aria-hidden": "true" }, sign),
      h("span", { class: "fr-word", "aria-hidden": "true" }, word),
    ),
  );
}

function drawLabels(buttons, item, saving) {
  for (const each of buttons) {
    const { label } = each.dataset;
    each.setAttribute("aria-pressed", item.decision?.label === label);
    each.toggleAttribute("data-saving", saving === label);
    each.toggleAttribute("data-suggested", !item.decision && item.suggestion?.label === label);
  }
}

class Tile {
  constructor(review, item) {
    Object.assign(this, { review, name: item.name });
    this.facts = h("div", { class: "fr-facts" });
    this.why = h("div", { class: "fr-why" });
    this.buttons = labelButtons(review, () => {
      review.go(review.names.indexOf(this.name));
      return this.name;
    });
    this.frames = h("div", { class: "fr-pictures" });
    if (item.source) this.frames.append(thumbnail(review.pictures, item.source, "source"));
    this.frames.append(thumbnail(review.pictures, item.picture, item.source ? "edit" : "picture"));
    this.element = h(
      "div",
      {
        class: "fr-tile",
        role: "gridcell",
        tabindex: "-1",
        "data-name": item.name,
        onmousedown: (event) => event.preventDefault(), // the click says where the focus goes, and selects no text
        onclick: (event) => review.grid.click(this.name, event),
        ondblclick: () => review.open(this.name),
        onfocus: () => review.focused(this.name),
      },
      this.frames,
      this.facts,
      h("div", { class: "fr-labels", role: "group", "aria-label": "label" }, this.buttons),
      this.why,
    );
    this.update(item);
  }

  update(item) {
    const { review, element } = this;
    const saving = review.saves.label(this.name);
    const said = review.saves.decision(this.name) ?? item.suggestion;
    const current = review.current === this.name;
    element.dataset.label = item.decision?.label ?? "";
    element.dataset.suggested = item.decision ? "" : (item.suggestion?.label ?? "");
    element.toggleAttribute("data-saving", review.saves.edits.has(this.name));
    element.tabIndex = current ? 0 : -1;
    element.setAttribute("aria-current", current);
    element.setAttribute("aria-selected", review.grid.selected.has(this.name));
    element.setAttribute("aria-label", spoken(item, saving));
    element.title = tooltip(item);
    drawLabels(this.buttons, item, saving);
    this.facts.replaceChildren(...facts(item));
    const reasons = current && review.draft.size ? [...review.draft] : (said?.reasons ?? []);
    this.why.textContent = reasons.join(", ");
    this.why.toggleAttribute("data-draft", current && review.draft.size > 0);
  }

  // Whether its pictures can be seen, or why they cannot.
  get settled() {
    return [...this.frames.querySelectorAll("img")].every((image) => image.complete && image.naturalWidth);
  }
}

function facts(item) {
  const mended = item.decision?.corrected;
  return [
    ...item.badges.map(({ name, text, state, title }) =>
      h("span", { class: "fr-measure", "data-measure": name, "data-state": state, title }, item.badges.length > 1 ? `${name} ${text}` : text),
    ),
    h("span", { class: "fr-kind" }, item.attributes.edit_value ?? item.angle ?? ""),
    mended && h("span", { class: "fr-badge", title: "has a corrected picture" }, "corrected"),
    ...item.fills.map((value) => h("span", { class: "fr-badge", title: "none of the others shows this" }, value)),
  ].filter(Boolean);
}

function spoken(item, saving) {
  const state = saving
    ? `${LABELS[saving].word}, saving`
    : item.decision
      ? LABELS[item.decision.label].word
      : item.suggestion
        ? `undecided, ${LABELS[item.suggestion.label].word} suggested`
        : "undecided";
  const why = (item.decision ?? item.suggestion)?.reasons.join(", ");
  return [item.name, state, why, ...item.badges.map(({ name, text }) => `${name} ${text}`)].filter(Boolean).join("; ");
}

function tooltip(item) {
  return [item.name, item.prompt && `prompt: ${item.prompt}`, item.seed != null && `seed ${item.seed}`]
    .filter(Boolean)
    .join("\n");
}
