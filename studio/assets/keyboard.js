// What Gradio's folds and lists leave out for those who work by keyboard or by ear.
(() => {
  // A fold says whether it is open.
  const tell = (fold) => {
    const open = String(fold.classList.contains("open"));
    if (fold.getAttribute("aria-expanded") !== open) fold.setAttribute("aria-expanded", open);
  };
  new MutationObserver((changes) => {
    if (changes.some((change) => change.type === "childList")) document.querySelectorAll("button.label-wrap").forEach(tell);
    else changes.forEach(({ target }) => { if (target.matches("button.label-wrap")) tell(target); });
  }).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });

  // A list that is left closes: Gradio opens it again at the very Tab that leaves it.
  const left = (list) => {
    if (list.isConnected && document.activeElement !== list && list.getAttribute("aria-expanded") === "true") {
      list.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    }
  };
  document.addEventListener("keydown", (event) => {
    const list = event.key === "Tab" && event.target.closest?.("input[role=listbox], input[role=combobox]");
    if (list) setTimeout(() => left(list), 100);  // once Gradio has done what it does
  }, true);
})();
