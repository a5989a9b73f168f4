// One picture large, beside its source, with all that is known of it, its reasons and what is to be corrected; and pairs.

class Single {
  constructor(review) {
    this.review = review;
    this.look = new Look();
    this.left = new Stage(review.pictures, this.look);
    this.right = new Stage(review.pictures, this.look);
    this.beside = true;
    this.version = 0;
    this.faces = false;
    this.buttons = labelButtons(review, () => [review.current]);
    this.reasons = h("div", { class: "fr-reasons", role: "group", "aria-label": "reasons" });
    this.table = h("div", { class: "fr-known" });
    this.issue = h("textarea", { rows: "2", "aria-label": "what is to be corrected", placeholder: "what is wrong" });
    this.prompt = h("textarea", { rows: "3", "aria-label": "improved prompt", placeholder: "a better prompt" });
    this.file = h("input", { type: "file", accept: "image/*", class: "fr-file", "aria-label": "corrected picture" });
    this.file.addEventListener("change", () => this.take(this.file.files));
    for (const field of [this.issue, this.prompt]) field.addEventListener("change", () => this.save());
    this.mended = h("div", { class: "fr-mended" });
    this.tools = h("div", { class: "fr-tools" }, [
      this.tool("back to the grid", "Escape", () => review.close()),
      this.tool("‹", "previous (←)", () => review.move(-1)),
      this.tool("›", "next (→)", () => review.move(1)),
      this.tool("1:1", "1:1 or fit (z)", () => this.look.toggle()),
      this.tool("beside", "source beside the edit (v)", () => this.toggleBeside()),
      this.tool("blink", "blink edit, source, corrected (s)", () => this.blink()),
      this.tool("faces", "faces found (f)", () => this.toggleFaces()),
    ]);
    const choose = h("button", { class: "fr-button", onclick: () => this.file.click() }, "choose a file…");
    const start = h("button", { class: "fr-button", onclick: () => this.copyPrompt() }, "start from its prompt");
    const keep = h("button", { class: "fr-button", onclick: () => this.save() }, "save");
    this.form = h("fieldset", { class: "fr-form" }, [
      h("legend", {}, "needs correction"),
      this.issue,
      this.prompt,
      h("div", { class: "fr-row" }, start, keep),
      h("div", { class: "fr-drop" }, "drop the corrected picture here, or ", choose, this.file, this.mended),
    ]);
    const side = h("div", { class: "fr-side" }, [
      h("div", { class: "fr-labels", role: "group", "aria-label": "label" }, this.buttons),
      this.reasons,
      this.table,
      this.form,
    ]);
    this.stages = h("div", { class: "fr-stages" }, this.left.element, this.right.element);
    this.element = h("div", { class: "fr-single", tabindex: "0", role: "group" }, [
      h("div", { class: "fr-large" }, this.tools, this.stages),
      side,
    ]);
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.take(event.dataTransfer.files);
    });
  }

  tool(word, title, click) {
    return h("button", { class: "fr-button", title, "aria-label": title, onclick: click }, word);
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
      this.element.setAttribute("aria-label", spoken(item));
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
    const corrected = this.item.decision?.corrected;
    this.item = item;
    this.element.setAttribute("aria-label", spoken(item, this.review.saving.get(item.name)));
    const saving = this.review.saving.get(item.name);
    this.stages.dataset.label = item.decision?.label ?? "";
    for (const button of this.buttons) {
      const label = button.dataset.label;
      button.setAttribute("aria-pressed", item.decision?.label === label);
      button.toggleAttribute("data-saving", saving === label);
      button.toggleAttribute("data-suggested", !item.decision && item.suggestion?.label === label);
    }
    const given = new Set(this.review.draft.size ? this.review.draft : (item.decision?.reasons ?? []));
    this.reasons.replaceChildren(
      ...Object.entries(this.review.told.reasons).map(([key, reason]) =>
        h(
          "button",
          {
            class: "fr-reason",
            "aria-pressed": given.has(reason),
            "data-draft": this.review.draft.has(reason),
            onclick: () => this.review.reason(reason),
          },
          h("kbd", {}, key),
          ` ${reason}`,
        ),
      ),
    );
    this.table.replaceChildren(...known(item).flatMap(([k, v]) => [h("span", {}, k), h("span", {}, v)]));
    this.form.hidden = Boolean(this.review.second);
    if (other || document.activeElement !== this.issue) this.issue.value = item.decision?.issue ?? "";
    if (other || document.activeElement !== this.prompt) this.prompt.value = item.decision?.prompt ?? "";
    this.mended.textContent = item.decision?.corrected ? `kept as ${item.decision.corrected}; s blinks` : "";
    if (!other && corrected !== item.decision?.corrected) this.version = 0;
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

  copyPrompt() {
    this.prompt.value ||= this.item.prompt;
    this.prompt.focus();
  }

  // Say what is to be corrected, when it is not what is on disk already.
  async save() {
    const { item } = this;
    const [issue, prompt] = [this.issue.value.trim(), this.prompt.value.trim()];
    if (issue === (item.decision?.issue ?? "") && prompt === (item.decision?.prompt ?? "")) return;
    await this.review.change("correct", { name: item.name, issue, prompt }, [item.name], "needs_correction");
  }

  async take(files) {
    if (!files.length) return;
    const { item, review } = this;
    const [issue, prompt] = [this.issue.value.trim(), this.prompt.value.trim()];
    const upload = `${review.kernel.me}-${(review.kernel.count += 1)}`;
    const [file] = files;
    this.file.value = "";
    review.say(files.length > 1 ? `one picture at a time: taking ${file.name}` : `reading ${file.name}`);
    try {
      const step = 2 ** 20; // a notebook server closes on a message over 10 MiB
      for (let at = 0; at < Math.max(1, file.size); at += step)
        await review.kernel.ask("upload", { upload }, [await file.slice(at, at + step).arrayBuffer()]);
    } catch (error) {
      return review.say(error.message, true);
    }
    await review.change("correct", { name: item.name, issue, prompt, upload, file: file.name }, [item.name], "needs_correction");
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
    ["face", `${distanceText(item)}${item.face === "not measured" ? "" : `, ${item.face} the threshold`}`],
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

class Pairs {
  constructor(review) {
    this.review = review;
    this.look = new Look();
    this.stages = [new Stage(review.pictures, this.look), new Stage(review.pictures, this.look)];
    this.message = h("p", { class: "fr-empty" });
    this.standing = h("ol", { class: "fr-standing" });
    const answer = (won, word) => h("button", { class: "fr-button", onclick: () => this.answer(won) }, word);
    this.answers = h("div", { class: "fr-tools" }, [
      h("button", { class: "fr-button", onclick: () => review.close() }, "back to the grid"),
      answer(1, "the left is better"),
      answer(0.5, "equally good"),
      answer(0, "the right is better"),
    ]);
    this.element = h("div", { class: "fr-pairs", tabindex: "0", role: "group", "aria-label": "which is better" }, [
      this.answers,
      h("p", { class: "fr-hint" }, PAIR_HELP),
      h("div", { class: "fr-stages" }, this.stages[0].element, this.stages[1].element),
      this.message,
      this.standing,
    ]);
  }

  async ask(content = {}) {
    try {
      const reply = await this.review.kernel.ask("pair", content);
      this.pair = reply.pair;
      this.review.take(reply);
      const asked = this.pair.length === 2;
      this.stages.forEach((stage) => (stage.element.hidden = !asked));
      if (asked) this.pair.forEach((name, side) => this.stages[side].show(this.review.items.get(name).picture, name));
      this.message.textContent = asked ? "" : reply.said;
      this.look.reset();
      this.standing.replaceChildren(...reply.standing.map((name) => h("li", {}, name)));
      this.review.say(reply.said || `${reply.count} compared`);
    } catch (error) {
      this.review.say(error.message, true);
    }
  }

  answer(won) {
    const { pair } = this;
    this.pair = null; // a second key before the next pair has come answers nothing
    if (pair?.length === 2) this.ask({ pair, won });
  }

  close() {
    this.stages.forEach((stage) => stage.close());
  }
}
