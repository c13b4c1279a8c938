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
