/* Blind A/B by keyboard: 1, 2 and 0 vote while the focus is in its card, and never while somebody types. */
(() => {
  const VOTES = { 1: "blind-1", 2: "blind-2", 0: "blind-0" };
  const TYPES = "input, textarea, select, [contenteditable=''], [contenteditable=true], [role=textbox], [role=combobox]";

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    const card = document.getElementById("blind");
    const at = event.target instanceof Element ? event.target : null;
    if (!card || !at || !card.contains(at) || at.closest(TYPES)) return;
    const id = VOTES[event.key];
    const button = id && document.getElementById(id);
    if (!button || button.disabled || !button.offsetParent) return;
    event.preventDefault();
    button.click();
  });

  // A click beside the buttons leaves the focus in the card, so that the keys are still heard.
  document.addEventListener("pointerdown", (event) => {
    const card = event.target instanceof Element && event.target.closest("#blind");
    if (card && !card.hasAttribute("tabindex")) card.tabIndex = -1;
  });
})();
