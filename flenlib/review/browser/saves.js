// What is to be written and is not on disk yet. Changes of one picture wait for each other, so that each is made on
// what the one before came to; changes of other pictures go out at once.

class Saves {
  constructor(review) {
    Object.assign(this, { review, edits: new Map(), last: new Map(), stepped: Promise.resolve() });
  }

  // What is decided on a picture once all that is on its way is on disk.
  decision(name) {
    const item = this.review.items.get(name);
    return (this.edits.get(name) ?? []).reduce((decision, edit) => edit(decision, item), item?.decision ?? null);
  }

  // The label a picture is being given; undefined when nothing is on its way.
  label(name) {
    return this.edits.has(name) ? this.decision(name)?.label : undefined;
  }

  decide(names, label, reasons) {
    const edit = (decision, item) => {
      const same = decision?.label === label ? decision : null;
      const suggested = item?.suggestion?.label === label ? item.suggestion.reasons : [];
      return { ...same, label, reasons: reasons ?? same?.reasons ?? suggested };
    };
    return this.change(names, edit, "decide", (seen) => ({ names, label, reasons, seen }));
  }

  reason(name, reason) {
    const edit = (decision) => decision && { ...decision, reasons: toggled(decision.reasons, reason) };
    return this.change([name], edit, "decide", (seen) => {
      const decision = this.review.items.get(name)?.decision;
      const { label, reasons } = decision ?? {}; // none: the label before it was refused, which has been said
      return decision && { names: [name], label, reasons: toggled(reasons, reason), seen };
    });
  }

  correct(name, issue, prompt, more = {}) {
    const label = "needs_correction";
    const edit = (decision) => {
      const known = decision?.label === label ? decision : { reasons: decision?.reasons ?? [] };
      return { ...known, label, issue, prompt };
    };
    return this.change([name], edit, "correct", () => ({ name, issue, prompt, ...more }));
  }

  // Undo and redo wait for everything, and everything later waits for them.
  step(what) {
    this.stepped = this.settled().then(() => this.review.askAndLook(what));
    this.last.clear();
    return this.stepped;
  }

  settled() {
    return Promise.all([...this.last.values(), this.stepped]);
  }

  // Shown hatched until the kernel says that it is on disk; returns whether it is. The decisions that the person was
  // shown go along: those at the key, or, where a change of the same picture was on its way, what that came to.
  async change(names, edit, what, content) {
    const { review, edits } = this;
    const seen = new Map(names.filter((name) => !edits.has(name)).map((name) => [name, review.when(name)]));
    for (const name of names) edits.set(name, [...(edits.get(name) ?? []), edit]);
    names.forEach((name) => review.redraw(name));
    const before = names.map((name) => this.last.get(name) ?? this.stepped);
    const answered = Promise.all(before).then(() => {
      const asked = content(Object.fromEntries(names.map((name) => [name, seen.get(name) ?? review.when(name)])));
      return asked && review.askAndLook(what, asked);
    });
    for (const name of names) this.last.set(name, answered);
    const reply = await answered;
    for (const name of names) {
      const left = edits.get(name).filter((each) => each !== edit);
      if (left.length) edits.set(name, left);
      else edits.delete(name);
    }
    names.forEach((name) => review.redraw(name));
    if (!reply || Object.keys(reply.refused).length) return false;
    const whom = names.length === 1 ? names[0] : `${names.length} pictures`;
    const { label } = review.items.get(names[0]).decision;
    if (!reply.said) review.say(`saved ${new Date().toLocaleTimeString()}: ${whom}, ${LABELS[label].word}`);
    return true;
  }
}

function toggled(reasons, reason) {
  return reasons.includes(reason) ? reasons.filter((each) => each !== reason) : [...reasons, reason];
}
