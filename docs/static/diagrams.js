// Draws the diagrams of a page, and again when the reader changes between light and dark.
const here = document.currentScript.src;
const diagrams = [...document.querySelectorAll("pre.mermaid")].map((element) => ({ element, text: element.textContent }));

async function draw() {
  const theme = document.documentElement.dataset.theme === "dark" ? "dark" : "neutral";
  mermaid.initialize({ startOnLoad: false, theme, flowchart: { useMaxWidth: false } });
  for (const [number, { element, text }] of diagrams.entries()) {
    // A narrow screen has no room from left to right.
    const fitting = innerWidth < 768 ? text.replace(/^flowchart LR/, "flowchart TB") : text;
    const { svg } = await mermaid.render(`diagram-${number}`, fitting);
    element.innerHTML = svg;
  }
}

if (diagrams.length) {
  const script = document.createElement("script");
  script.src = new URL("mermaid.js", here);
  script.onload = () => {
    draw();
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  };
  document.head.append(script);
}
