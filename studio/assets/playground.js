// The playground by keyboard: Ctrl+Enter asks, and a slider that is let go, whether by mouse, by arrow keys or in its
// number field, lets the sides answer at the new strength.
(() => {
  const PATIENCE = 350;  // ms: arrow keys come in series
  let timer = null;
  const turned = () => {
    clearTimeout(timer);
    timer = setTimeout(() => document.querySelector("#dial-turned")?.click(), PATIENCE);
  };
  document.addEventListener("change", (event) => {
    if (event.target.closest?.("#strength, .blend-strength")) turned();
  }, true);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#strength button, .blend-strength button")) turned();
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    if (!event.target.closest?.("#prompt")) return;
    event.preventDefault();
    // After Gradio has taken in what was typed last.
    setTimeout(() => document.querySelector("#ask")?.click(), 50);
  }, true);
})();

// A reload of the tab loses nothing: prompts are as they stood when the page was left, and Python finds what was
// asked by the name that the page had then (studio/compare/coming_back.py).
(() => {
  const PROMPTS = ["#prompt textarea", "#prompts-text textarea"];
  const kept = (name) => sessionStorage.getItem(`compare ${name}`) || "";
  const keep = (name, value) => {
    try { sessionStorage.setItem(`compare ${name}`, value); }
    catch { sessionStorage.removeItem(`compare ${name}`); }  // no room: rather nothing than something older
  };
  let tab = "";
  window.studioTab = { left: () => kept("tab"), now: (name) => { tab = name || tab; } };
  addEventListener("pagehide", () => {
    if (tab) keep("tab", tab);
    PROMPTS.forEach((name) => {
      const field = document.querySelector(name);
      if (field) keep(name, field.value);
    });
  });
  new MutationObserver(() => PROMPTS.forEach((name) => {
    const field = document.querySelector(`${name}:not([data-kept])`);
    if (!field) return;
    field.dataset.kept = "yes";
    if (!kept(name) || field.value) return;
    field.value = kept(name);
    field.dispatchEvent(new Event("input", { bubbles: true }));  // Gradio keeps its own value
  })).observe(document.documentElement, { childList: true, subtree: true });
})();
