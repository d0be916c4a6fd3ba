// The page beside its timeline: copy buttons, tables that sort, names that lead to the timeline.
const PenstockPage = (() => {
  function copying(document, window) {
    const mark = (element) => window.getSelection().selectAllChildren(element);
    for (const button of document.querySelectorAll("[data-copies]")) {
      button.addEventListener("click", () => {
        const code = document.getElementById(button.dataset.copies);
        const done = (word) => {
          button.textContent = word;
          window.setTimeout(() => { button.textContent = "Copy"; }, 2000);
        };
        const failed = () => { mark(code); done("Marked"); }; // where the clipboard is not to be had, it can be copied by hand
        const clipboard = window.navigator && window.navigator.clipboard;
        if (clipboard) clipboard.writeText(code.textContent).then(() => done("Copied"), failed); else failed();
      });
    }
  }

  // a column's order: by the figure that a cell carries, else by its text; a second click turns it round
  function sorting(document) {
    for (const button of document.querySelectorAll("th > button.sort")) {
      button.addEventListener("click", () => {
        const head = button.parentElement, at = [...head.parentElement.children].indexOf(head), body = head.closest("table").tBodies[0];
        const figures = head.classList.contains("figure"), was = head.getAttribute("aria-sort");
        const turn = was === "descending" || (was === null && !figures) ? 1 : -1;
        const key = (row) => {
          const cell = row.children[at];
          return figures ? Number(cell.dataset.value ?? -Infinity) : cell.textContent.trim().toLowerCase();
        };
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => (a < b ? -turn : a > b ? turn : 0));
        body.append(...rows.map(([, row]) => row));
        for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      });
    }
  }

  function leading(document, timeline) {
    for (const link of document.querySelectorAll("[data-shows]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        document.getElementById("timeline").scrollIntoView();
        timeline.showName(link.dataset.shows);
        document.getElementById("timeline-canvas").focus({ preventScroll: true });
      });
    }
  }

  return { copying, sorting, leading };
})();
if (typeof document !== "undefined") {
  const timeline = PenstockTimeline.start(document, window);
  PenstockPage.copying(document, window);
  PenstockPage.sorting(document);
  if (timeline) PenstockPage.leading(document, timeline);
}
