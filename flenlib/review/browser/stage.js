// A stage: one picture large, fitted or 1:1 or anything between, moved by dragging; stages can share where they look.

class Look {
  constructor() {
    this.stages = new Set();
    this.reset();
  }

  reset() {
    Object.assign(this, { scale: 0, x: 0, y: 0 }); // scale 0: as large as fits
    this.draw();
  }

  toggle() {
    Object.assign(this, { scale: this.scale ? 0 : 1, x: 0, y: 0 });
    this.draw();
  }

  // Move over the picture, when it is larger than its stage or zoomed.
  pan(x, y) {
    if (!this.scale) return;
    Object.assign(this, { x: this.x + x, y: this.y + y });
    this.draw();
  }

  // Zoom by a factor, around a point of the stage (from its middle).
  zoom(by, x = 0, y = 0, stage = [...this.stages].find((each) => each.size && each.element.clientWidth)) {
    if (!stage?.size) return;
    const before = this.scale || stage.fit;
    const after = Math.min(16, Math.max(0.05, before * by));
    this.x = x - ((x - this.x) * after) / before; // what is at the point stays there
    this.y = y - ((y - this.y) * after) / before;
    this.scale = after;
    this.draw();
  }

  draw() {
    for (const stage of this.stages) stage.draw();
  }
}

class Stage {
  constructor(pictures, look) {
    Object.assign(this, { pictures, look, shown: "", size: null });
    this.image = h("img", { alt: "", draggable: "false" });
    this.plane = h("div", { class: "fr-plane" }, this.image);
    this.title = h("div", { class: "fr-title" });
    this.percent = h("div", { class: "fr-percent" });
    this.element = h("div", { class: "fr-stage" }, this.plane, this.title, this.percent);
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("dblclick", () => look.toggle());
    this.element.addEventListener("pointerdown", (event) => this.drag(event));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
    look.stages.add(this);
  }

  // Show the thumbnail at once and the picture itself when it has come.
  async show(picture, title) {
    this.shown = picture;
    this.title.textContent = title;
    this.image.alt = title;
    this.mark([]);
    this.element.removeAttribute("data-missing");
    this.element.dataset.waiting = "";
    try {
      if (!picture.startsWith("corrected/")) this.place(picture, await this.pictures.thumbnail(picture));
      this.place(picture, await this.pictures.full(picture));
    } catch (error) {
      if (this.shown === picture) this.miss(error.message);
    }
  }

  miss(why) {
    this.image.removeAttribute("src");
    this.element.removeAttribute("data-waiting");
    this.element.dataset.missing = why;
  }

  place(picture, found) {
    if (this.shown !== picture) return;
    this.image.onload = () => {
      this.size = found.size ?? [this.image.naturalWidth, this.image.naturalHeight];
      this.whole = Boolean(found.size);
      this.element.removeAttribute("data-waiting");
      this.draw();
    };
    this.image.onerror = () => this.miss("the browser cannot show this picture");
    this.image.src = found.url;
  }

  // Whether what is shown is what was asked for, or a word on why it cannot be.
  get settled() {
    return Boolean(this.shown) && !("waiting" in this.element.dataset);
  }

  mark(boxes) {
    this.plane.querySelectorAll(".fr-face").forEach((box) => box.remove());
    for (const [left, top, right, bottom] of boxes) {
      const style = `left:${left}px;top:${top}px;width:${right - left}px;height:${bottom - top}px`;
      this.plane.append(h("div", { class: "fr-face", style }));
    }
  }

  get fit() {
    return Math.min(this.element.clientWidth / this.size[0], this.element.clientHeight / this.size[1]);
  }

  draw() {
    if (!this.size || !this.element.clientWidth) return;
    const scale = this.look.scale || this.fit;
    Object.assign(this.plane.style, { width: `${this.size[0]}px`, height: `${this.size[1]}px` });
    this.plane.style.setProperty("--scale", scale);
    this.plane.style.transform =
      `translate(${this.look.x}px, ${this.look.y}px) translate(-50%, -50%) scale(${scale})`;
    this.percent.textContent = this.whole ? `${this.look.scale ? "" : "fit "}${Math.round(scale * 100)} %` : "";
  }

  wheel(event) {
    if (!this.size) return;
    event.preventDefault();
    const box = this.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    this.look.zoom(Math.exp(-event.deltaY / 400), x, y, this);
  }

  drag(start) {
    if (start.button !== 0) return;
    const { x, y } = this.look;
    const move = (event) => {
      Object.assign(this.look, { x: x + event.clientX - start.clientX, y: y + event.clientY - start.clientY });
      this.look.draw();
    };
    this.element.setPointerCapture(start.pointerId);
    this.element.addEventListener("pointermove", move);
    const end = () => this.element.removeEventListener("pointermove", move);
    this.element.addEventListener("pointerup", end, { once: true });
  }

  close() {
    this.observer.disconnect();
    this.look.stages.delete(this);
  }
}
