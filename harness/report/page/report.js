"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 40rem)");

/** Inflate plotly, which the page carries compressed, and run it. */
async function library() {
  const packed = document.getElementById("plotly").textContent;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

/** Put the second panel below the first. */
function stacked(layout) {
  Object.assign(layout.xaxis, { domain: [0, 1], title: {} });
  Object.assign(layout.xaxis2, { domain: [0, 1] });
  Object.assign(layout.yaxis, { domain: [0.56, 1] });
  Object.assign(layout.yaxis2, { domain: [0, 0.44], showticklabels: true });
}

/** Return a view with the colours of the page, and with what suits its width. */
function dressed(view) {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, line, raised] = ["ink", "quiet", "line", "raised"].map((name) =>
    style.getPropertyValue(`--${name}`).trim(),
  );
  // A method's colour is the one that can be seen on this page.
  const shown = (color, digits) => style.getPropertyValue(`--m${digits}`).trim() || color;
  const { data, layout } = JSON.parse(JSON.stringify(view).replace(/#([0-9a-f]{6})/g, shown));
  for (const trace of data) {
    if (trace.fill) trace.fillcolor = `${trace.line.color}2e`;
  }
  const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name));
  for (const name of axes) {
    Object.assign(layout[name], { gridcolor: line, linecolor: quiet, zerolinecolor: line });
  }
  if (narrow.matches) {
    for (const name of axes) {
      if (layout[name].nticks) layout[name].nticks = 4;
    }
    if (layout.xaxis2) stacked(layout);
  }
  for (const shape of layout.shapes ?? []) {
    shape.line.color = quiet;
    shape.label.font.color = quiet;
  }
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: raised, bordercolor: line, font: { color: ink } },
    margin: { l: 60, r: 12, t: layout.annotations ? 30 : 12, b: 50 },
    dragmode: narrow.matches ? false : "zoom",
  });
  return { data, layout };
}

/** Make a figure interactive; return what draws it anew. */
function figure(element) {
  const plot = element.querySelector(".plot");
  const form = element.querySelector(".switches");
  const { views } = JSON.parse(document.getElementById(`plot-${element.dataset.figure}`).textContent);
  const draw = () => {
    const chosen = [...form.querySelectorAll("input:checked")].map((input) => input.value);
    const { data, layout } = dressed(views[chosen.join(" ")]);
    plot.classList.toggle("stacked", narrow.matches && Boolean(layout.xaxis2));
    // Its own buttons and tips are out of reach of a keyboard; the page says what they would.
    const config = { responsive: true, displayModeBar: false, showTips: false };
    return Plotly.react(plot.firstElementChild, data, layout, config);
  };
  plot.hidden = form.hidden = false;
  element.classList.add("drawn");
  form.addEventListener("change", draw);
  return draw;
}

/** Offer to copy commands. */
function copying() {
  const said = document.getElementById("said");
  for (const button of document.querySelectorAll(".command button")) {
    const command = button.previousElementSibling;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.textContent);
        said.textContent = button.textContent = "Copied";
      } catch {
        // A page inside another may not: the command is marked, to be copied by hand.
        getSelection().selectAllChildren(command);
        said.textContent = button.textContent = "Marked";
      }
    });
  }
}

/** Say beside every table whether there is more of it on the right. */
function hints() {
  const look = (hint) => {
    const { scrollWidth, clientWidth } = hint.nextElementSibling;
    hint.dataset.known = "";
    hint.classList.toggle("needed", scrollWidth > clientWidth + 1);
  };
  const all = [...document.querySelectorAll(".hint")];
  const watch = new ResizeObserver((seen) => {
    for (const { target } of seen) look(target.previousElementSibling);
  });
  for (const hint of all) {
    look(hint);
    watch.observe(hint.nextElementSibling);
  }
}

/** Open what is folded around the place that a link leads to. */
function unfold() {
  const place = document.getElementById(location.hash.slice(1));
  const folded = place?.closest("details");
  if (!folded || folded.open) return;
  folded.open = true;
  place.scrollIntoView();
}

copying();
hints();
unfold();
addEventListener("hashchange", unfold);
library().then(
  () => {
    const figures = [...document.querySelectorAll("figure:has(.plot)")].map(figure);
    const drawAll = () => Promise.all(figures.map((draw) => draw()));
    dark.addEventListener("change", drawAll);
    narrow.addEventListener("change", drawAll);
    drawAll().then(() => {
      // Plotly measures texts in a picture of its own, which nobody is to hear of.
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true");
      document.documentElement.setAttribute("data-drawn", "");
    });
  },
  // The browser is too old: the still pictures and the tables say the same.
  () => {},
);
