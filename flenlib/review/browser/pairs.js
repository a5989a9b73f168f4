// Pairs: which of two pictures is better, and the order that comes of it.

class Pairs {
  constructor(review) {
    this.review = review;
    this.look = new Look();
    this.stages = [new Stage(review.pictures, this.look), new Stage(review.pictures, this.look)];
    this.message = h("p", { class: "fr-empty" });
    this.standing = h("ol", { class: "fr-standing" });
    const answer = (won, word, key) => button(word, key, () => this.answer(won));
    this.answers = h("div", { class: "fr-tools" }, [
      button("back to the grid", "Escape", () => review.close()),
      answer(1, "the left is better", "1 or ←"),
      answer(0.5, "equally good", "0 or ="),
      answer(0, "the right is better", "2 or →"),
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
    if (pair?.length === 2 && !this.stages.every((stage) => stage.settled)) return this.review.say(UNSEEN, true);
    this.pair = null; // a second key before the next pair has come answers nothing
    if (pair?.length === 2) this.ask({ pair, won });
  }

  close() {
    this.stages.forEach((stage) => stage.close());
  }
}
