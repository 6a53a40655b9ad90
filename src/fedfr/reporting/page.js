"use strict";
// Shows the chosen methods, the value under the pointer, and downloads of figures, tables and their data.
(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { figures, tables } = await new Response(stream).json();
  const boxes = [...document.querySelectorAll("input[data-method]")];
  const shown = (method) => !method || boxes.find((box) => box.dataset.method === method)?.checked !== false;

  // The legend lists the visible lines in as many columns as fit; the figure ends below it.
  const plots = Object.entries(figures).map(([name, figure]) => {
    const svg = document.querySelector(`[id="${name}"] svg`);
    const all = (end) => [...svg.querySelectorAll(`[id^="${name}--"]`)].filter((element) => end.test(element.id));
    const texts = all(/-text$/).map((text) => ({ text, id: text.id.slice(0, -5), box: text.getBBox() }));
    const entries = texts.map(({ text, id, box }) => ({ text, id, box, key: document.getElementById(`${id}-key`) }));
    const [, , width] = svg.getAttribute("viewBox").split(" ").map(Number);
    return { name, figure, svg, entries, width };
  });
  const number = (id) => Number(/--(\d+)/.exec(id)?.[1] ?? NaN);
  const follow = ({ name, figure, svg, entries, width }) => {
    for (const element of svg.querySelectorAll(`[id^="${name}--"]`)) {
      const line = figure.lines[number(element.id)];
      element.style.display = line && !shown(line.method) ? "none" : "";
    }
    const kept = entries.filter(({ text }) => text.style.display !== "none");
    if (!kept.length) return;
    const least = (of) => Math.min(...entries.map(({ box }) => of(box)));
    const most = (of) => Math.max(...kept.map(({ box }) => of(box)));
    const [left, top] = [least((box) => box.x), least((box) => box.y)];
    const [wide, tall] = [left + most((box) => box.width) + 6, 1.2 * most((box) => box.height)];
    const columns = Math.max(1, Math.floor(width / wide));
    kept.forEach(({ text, key, box }, place) => {
      const x = left + (place % columns) * wide - box.x;
      const y = top + Math.floor(place / columns) * tall - box.y;
      for (const element of [text, key]) {
        element.dataset.base ??= element.getAttribute("transform") ?? "";
        element.setAttribute("transform", `translate(${x} ${y}) ${element.dataset.base}`);
      }
    });
    svg.setAttribute("viewBox", `0 0 ${width} ${top + Math.ceil(kept.length / columns) * tall + 2}`);
  };
  const update = () => plots.forEach(follow);
  for (const box of boxes) box.addEventListener("change", update);
  update();

  const tip = document.getElementById("tip");
  for (const { figure, svg } of plots) {
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = { distance: 12 };
      for (const line of figure.lines.filter(({ method }) => shown(method))) {
        for (const [x, y, told] of line.points) {
          const distance = Math.hypot(x - at.x, y - at.y);
          if (distance < best.distance) best = { distance, text: `${line.label}\n${told}`.trim() };
        }
      }
      tip.hidden = !best.text;
      tip.textContent = best.text ?? "";
      tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)}px`;
      tip.style.top = `${event.clientY + 14}px`;
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  }

  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    // A busy browser reads the blob later; revoked at once, the download would fail.
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };
  // Black on white, independent of the page's colours, without hidden elements.
  const standalone = (svg) => {
    const copy = svg.cloneNode(true);
    for (const element of [...copy.querySelectorAll("*")]) if (element.style.display === "none") element.remove();
    const [, , width, height] = copy.getAttribute("viewBox").split(" ").map(Number);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", `${width}pt`);
    copy.setAttribute("height", `${height}pt`);
    const text = new XMLSerializer().serializeToString(copy);
    const light = { "var(--ink)": "#1c2026", "var(--line)": "#d9dde3", "var(--ground)": "#ffffff" };
    const plain = Object.entries(light).reduce((whole, [name, value]) => whole.replaceAll(name, value), text);
    return { blob: new Blob([plain], { type: "image/svg+xml" }), width, height };
  };
  const asPng = async ({ blob, width, height }) => {
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    await image.decode();
    const canvas = document.createElement("canvas");
    const scale = 300 / 72;
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  };
  for (const { name, figure, svg } of plots) {
    const forms = {
      svg: () => standalone(svg).blob,
      png: () => asPng(standalone(svg)),
      csv: () => new Blob([figure.csv], { type: "text/csv" }),
    };
    for (const button of document.querySelectorAll(`[id="${name}"] button[data-form]`)) {
      const { form } = button.dataset;
      button.addEventListener("click", async () => save(await forms[form](), `${name}.${form}`));
    }
  }
  for (const button of document.querySelectorAll("button[data-table]")) {
    const { table, form } = button.dataset;
    button.addEventListener("click", () => save(new Blob([tables[table][form]], { type: "text/plain" }), `${table}.${form}`));
  }
  document.documentElement.dataset.drawn = String(plots.length);
})();
