// Draws the diagrams of a page; in the dark, the theme turns their colours round.
const here = document.currentScript.src;
const diagrams = [...document.querySelectorAll("pre.mermaid")];
const LEGIBLE = 0.6; // of the full size

async function draw() {
  mermaid.initialize({ startOnLoad: false, theme: "neutral" });
  for (const [number, element] of diagrams.entries()) {
    const text = element.textContent;
    // From left to right where that fits, else from top to bottom.
    for (const way of ["LR", "TB"]) {
      const drawn = await mermaid.render(`diagram-${number}`, text.replace(/^flowchart LR/, `flowchart ${way}`));
      element.innerHTML = drawn.svg;
      const { style } = element.querySelector("svg"); // its max-width is its full size
      style.minWidth = `calc(${LEGIBLE} * ${style.maxWidth})`;
      if (element.scrollWidth <= element.clientWidth) break;
    }
  }
}

if (diagrams.length) {
  const script = document.createElement("script");
  script.src = new URL("mermaid.js", here);
  script.onload = draw;
  document.head.append(script);
}
