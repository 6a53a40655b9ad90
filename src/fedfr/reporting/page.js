"use strict";
// Draws the figures in the page's colours, shows the chosen methods and the other view, hands out each figure's data.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const boxes = [...document.querySelectorAll("input[data-method]")];
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const themed = () => {
    const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line") };
    return { ink: style("--ink"), ground: style("--ground"), raised: style("--raised"), axis };
  };

  const colours = () => {
    const { ink, ground, raised, axis } = themed();
    const found = { "font.color": ink, paper_bgcolor: ground, plot_bgcolor: ground };
    found["hoverlabel.bgcolor"] = raised;
    found["hoverlabel.font.color"] = ink;
    for (const name of ["xaxis", "yaxis"]) {
      for (const [key, value] of Object.entries(axis)) found[`${name}.${key}`] = value;
    }
    return found;
  };

  const isShown = () => new Map(boxes.map((box) => [box.dataset.method, box.checked]));
  const visible = (trace, shown) => trace.meta === undefined || shown.get(trace.meta.method) !== false;

  const drawn = [];
  for (const [name, figure] of Object.entries(figures)) {
    const element = document.getElementById(name);
    const plot = element.querySelector(".plot");
    const shown = isShown();
    const traces = figure.traces.map((trace) => ({ ...trace, visible: visible(trace, shown) }));
    const layout = structuredClone(figure.layout);
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    drawn.push(Plotly.newPlot(plot, traces, layout, config).then(() => Plotly.relayout(plot, colours())));
    const toggle = element.querySelector(".other");
    toggle?.addEventListener("click", () => {
      const on = toggle.getAttribute("aria-pressed") !== "true";
      toggle.setAttribute("aria-pressed", String(on));
      const y = on ? figure.other.y : figure.traces.map((trace) => trace.y);
      const { type = "linear", title } = on ? figure.other.yaxis : figure.layout.yaxis;
      Plotly.update(plot, { y }, { "yaxis.type": type, "yaxis.title.text": title.text, "yaxis.autorange": true });
    });
    element.querySelector(".csv").addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([figure.csv], { type: "text/csv" }));
      link.download = `${name}.csv`;
      link.click();
      // A busy browser reads it after this; revoked at once, the download would fail.
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
  }

  const plots = () => document.querySelectorAll(".plot");
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const shown = isShown();
      for (const plot of plots()) {
        Plotly.restyle(plot, { visible: plot.data.map((trace) => visible(trace, shown)) });
      }
    });
  }
  const recolour = () => { for (const plot of plots()) Plotly.relayout(plot, colours()); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  // On paper the ground is white whatever the screen's is.
  matchMedia("print").addEventListener("change", recolour);
  Promise.all(drawn).then(() => { document.documentElement.dataset.drawn = String(drawn.length); });
})();
