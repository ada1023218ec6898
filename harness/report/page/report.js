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

/** Return a view with the colours of the page, and with what suits its width. */
function dressed(view) {
  const style = getComputedStyle(document.documentElement);
  const [ink, quiet, line, raised] = ["ink", "quiet", "line", "raised"].map((name) =>
    style.getPropertyValue(`--${name}`).trim(),
  );
  // A method that is drawn in black is drawn in the colour of the text.
  const { data, layout } = JSON.parse(JSON.stringify(view).replaceAll("#000000", ink));
  for (const axis of [layout.xaxis, layout.yaxis]) {
    Object.assign(axis, { gridcolor: line, linecolor: quiet, zerolinecolor: line });
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
    margin: { l: 60, r: 12, t: 12, b: 50 },
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

copying();
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
