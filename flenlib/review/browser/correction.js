// What is to be corrected, in words and as a picture. What is typed is kept until the kernel says that it is on disk.

class Correction {
  constructor(review) {
    Object.assign(this, { review, item: null, drafts: new Map() });
    this.issue = h("textarea", { rows: "2", "aria-label": "what is to be corrected", placeholder: "what is wrong" });
    this.prompt = h("textarea", { rows: "3", "aria-label": "improved prompt", placeholder: "a better prompt" });
    for (const field of [this.issue, this.prompt]) {
      field.addEventListener("input", () => this.typed());
      field.addEventListener("change", () => this.save());
    }
    this.file = h("input", { type: "file", accept: "image/*", class: "fr-file", "aria-label": "corrected picture" });
    this.file.addEventListener("change", () => this.take(this.item.name, this.file.files));
    this.unsaved = h("span", { class: "fr-unsaved" }, "not saved yet");
    this.kept = h("div", { class: "fr-kept" });
    this.element = h("fieldset", { class: "fr-form" }, [
      h("legend", {}, "needs correction"),
      this.issue,
      this.prompt,
      h("div", { class: "fr-row" }, [
        button("start from its prompt", "copy the prompt the picture was made with", () => this.copyPrompt()),
        button("save", "save what is to be corrected (Ctrl+Enter)", () => this.save(true)),
        this.unsaved,
      ]),
      h("div", { class: "fr-drop" }, [
        "drop the corrected picture on this one, or ",
        button("choose a file…", "choose the corrected picture", () => this.file.click()),
        this.file,
        this.kept,
      ]),
    ]);
  }

  show(item) {
    if (this.item && this.item.name !== item.name) this.save();
    this.item = item;
    const text = this.text(item.name);
    for (const field of ["issue", "prompt"]) if (this[field].value !== text[field]) this[field].value = text[field];
    this.unsaved.hidden = !this.drafts.has(item.name);
    this.kept.textContent = item.decision?.corrected ? `kept as ${item.decision.corrected}; s blinks` : "";
    this.element.hidden = Boolean(this.refusal);
  }

  // Why nothing can be corrected here; empty where it can.
  get refusal() {
    return this.review.second ? BLIND : this.review.settings.strict ? STRICT : "";
  }

  // What is typed for a picture, or else what is on disk or on its way there.
  text(name) {
    const { issue = "", prompt = "" } = this.drafts.get(name) ?? this.review.saves.decision(name) ?? {};
    return { issue, prompt };
  }

  typed() {
    this.drafts.set(this.item.name, { issue: this.issue.value, prompt: this.prompt.value });
    this.unsaved.hidden = false;
  }

  focus() {
    if (this.refusal) this.review.say(this.refusal, true);
    else this.issue.focus();
  }

  copyPrompt() {
    this.prompt.value ||= this.item.prompt;
    this.typed();
    this.prompt.focus();
  }

  // What was refused once is sent again only when asked for: a label given since would be replaced.
  async save(again = false) {
    const { name } = this.item;
    const draft = this.drafts.get(name);
    if (!draft || draft.sent || (draft.refused && !again)) return;
    const { issue = "", prompt = "" } = this.review.saves.decision(name) ?? {};
    if (draft.issue.trim() !== issue || draft.prompt.trim() !== prompt) return this.send(name);
    this.drafts.delete(name);
    this.show(this.item);
  }

  async send(name, more) {
    const draft = this.drafts.get(name);
    const { issue, prompt } = this.text(name);
    if (draft) draft.sent = true;
    const saved = await this.review.saves.correct(name, issue.trim(), prompt.trim(), more);
    if (draft) Object.assign(draft, { sent: false, refused: !saved });
    if (saved && this.drafts.get(name) === draft) this.drafts.delete(name); // else more was typed since
    this.review.redraw(name);
  }

  // Send a corrected picture to the kernel, which says whether it can be one.
  async take(name, files) {
    const { review } = this;
    if (this.refusal) return review.say(this.refusal, true);
    if (!files.length) return;
    const upload = `${review.kernel.me}-${(review.kernel.count += 1)}`;
    const [file] = files;
    review.say(files.length > 1 ? `one picture at a time: taking ${file.name}` : `reading ${file.name}`);
    try {
      const step = 2 ** 20; // a notebook server closes on a message over 10 MiB
      for (let at = 0; at < Math.max(1, file.size); at += step)
        await review.kernel.ask("upload", { upload }, [await file.slice(at, at + step).arrayBuffer()]);
    } catch (error) {
      return review.say(error.message, true);
    } finally {
      this.file.value = "";
    }
    await this.send(name, { upload, file: file.name });
  }
}

// A file dropped anywhere on the widget is the widget's: the browser would open it and leave the notebook.
function listenToDrops(review) {
  const { root } = review;
  const place = (event) => event.target.closest(".fr-tile, .fr-single");
  const mark = (over) => {
    root.querySelectorAll("[data-over]").forEach((each) => each !== over && each.removeAttribute("data-over"));
    over?.setAttribute("data-over", "");
  };
  const listen = (kind, act) =>
    root.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return; // text dragged within a field
      event.preventDefault();
      event.stopPropagation();
      act(event);
    });
  listen("dragenter", (event) => mark(place(event)));
  listen("dragover", (event) => mark(place(event)));
  listen("dragleave", (event) => root.contains(event.relatedTarget) || mark(null));
  listen("drop", (event) => {
    mark(null);
    const over = place(event);
    if (over) review.single.correction.take(over.dataset.name ?? review.current, event.dataTransfer.files);
    else review.say("nothing taken: drop a corrected picture on the picture it corrects", true);
  });
}
