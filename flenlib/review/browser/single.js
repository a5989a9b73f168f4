// One picture large, beside its source, with all that is known of it, its reasons and what is to be corrected.

class Single {
  constructor(review) {
    this.review = review;
    this.look = new Look();
    this.left = new Stage(review.pictures, this.look);
    this.right = new Stage(review.pictures, this.look);
    this.beside = true;
    this.version = 0;
    this.faces = false;
    this.buttons = labelButtons(review, () => review.current);
    this.reasons = Object.entries(review.settings.reasons).map(([key, reason]) =>
      h("button", { class: "fr-reason", "data-reason": reason, onclick: () => review.reason(reason) }, [
        h("kbd", {}, key),
        ` ${reason}`,
      ]),
    );
    this.table = h("div", { class: "fr-known" });
    this.correction = new Correction(review);
    this.tools = h("div", { class: "fr-tools" }, [
      button("back to the grid", "Escape", () => review.close()),
      button("‹", "previous (←)", () => review.move(-1)),
      button("›", "next (→)", () => review.move(1)),
      button("1:1", "1:1 or fit (z)", () => this.look.toggle()),
      button("beside", "source beside the edit (v)", () => this.toggleBeside()),
      button("blink", "blink edit, source, corrected (s)", () => this.blink()),
      button("faces", "faces found (f)", () => this.toggleFaces()),
    ]);
    const side = h("div", { class: "fr-side" }, [
      h("div", { class: "fr-labels", role: "group", "aria-label": "label" }, this.buttons),
      h("div", { class: "fr-reasons", role: "group", "aria-label": "reasons" }, this.reasons),
      this.table,
      this.correction.element,
    ]);
    this.stages = h("div", { class: "fr-stages" }, this.left.element, this.right.element);
    this.element = h("div", { class: "fr-single", tabindex: "0", role: "group" }, [
      h("div", { class: "fr-large" }, this.tools, this.stages),
      side,
    ]);
  }

  get versions() {
    const { item } = this;
    return [
      ["edit", item.picture],
      item.source && ["source", item.source],
      item.decision?.corrected && ["corrected", item.decision.corrected],
    ].filter(Boolean);
  }

  show(item) {
    const other = this.item?.name !== item.name;
    this.item = item;
    if (other) {
      this.version = 0;
      this.look.reset();
      this.stagePictures();
    }
    this.update(item, other);
  }

  stagePictures() {
    const { item } = this;
    const beside = this.beside && Boolean(item.source);
    const [title, picture] = this.versions[this.version] ?? this.versions[0];
    this.left.element.hidden = !beside;
    if (beside) this.left.show(item.source, `source: ${item.source_name}`);
    this.right.show(picture, item.source || title !== "edit" ? `${title}: ${item.name}` : item.name);
    this.right.element.dataset.version = title;
    if (this.faces) this.markFaces();
  }

  update(item, other = false) {
    const { review } = this;
    const mended = !other && this.item.decision?.corrected !== item.decision?.corrected;
    const saving = review.saves.label(item.name);
    this.item = item;
    this.element.setAttribute("aria-label", spoken(item, saving));
    this.stages.dataset.label = item.decision?.label ?? "";
    drawLabels(this.buttons, item, saving);
    const given = review.draft.size ? [...review.draft] : (review.saves.decision(item.name)?.reasons ?? []);
    for (const each of this.reasons) {
      const { reason } = each.dataset;
      each.setAttribute("aria-pressed", given.includes(reason));
      each.toggleAttribute("data-draft", given.includes(reason) && !item.decision?.reasons.includes(reason));
    }
    this.table.replaceChildren(...known(item).flatMap(([k, v]) => [h("span", {}, k), h("span", {}, v)]));
    this.correction.show(item);
    if (mended) {
      this.version = 0;
      this.stagePictures();
    }
  }

  // Whether the picture itself can be seen, or why it cannot.
  shows(name) {
    return this.item?.name === name && this.right.settled;
  }

  toggleBeside() {
    this.beside = !this.beside;
    this.stagePictures();
  }

  blink() {
    this.version = (this.version + 1) % this.versions.length;
    this.stagePictures();
    this.review.say(this.versions.length > 1 ? this.versions[this.version][0] : "there is no source to blink with");
  }

  toggleFaces() {
    this.faces = !this.faces;
    this.right.mark([]);
    if (this.faces) this.markFaces();
  }

  async markFaces() {
    const picture = this.right.shown;
    try {
      const { boxes } = await this.review.kernel.ask("faces", { picture });
      await this.review.pictures.full(picture);
      if (this.faces && this.right.shown === picture) this.right.mark(boxes);
      if (!boxes.length) this.review.say("no face found");
    } catch (error) {
      this.review.say(error.message, true);
    }
  }

  close() {
    this.left.close();
    this.right.close();
  }
}

function known(item) {
  const { decision, suggestion } = item;
  const rows = [
    ["picture", item.name],
    ...item.measured.map(({ name, text, state }) => [name, ["within", "beyond"].includes(state) ? `${text}, ${state}` : text]),
    ["kind", [item.kind, item.attributes.edit_value].filter(Boolean).join(": ")],
    ["prompt", item.prompt],
    ["seed", item.seed == null ? "" : String(item.seed)],
    ["caption", item.caption],
    ["fills", item.fills.join(", ")],
    ["label", decision && `${LABELS[decision.label].word} by ${decision.person || decision.reviewer}, ${moment(decision.when)}`],
    ["reasons", decision?.reasons.join(", ")],
    ["suggested", suggestion && `${LABELS[suggestion.label].word}: ${suggestion.reasons.join(", ")}`],
  ];
  return rows.filter(([, value]) => value);
}

function moment(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? when : date.toLocaleString();
}
