// The Data page in the browser: what is typed into rows stays until it is saved, also over a reload, and a range from
// a spreadsheet can be pasted into the grid. What the buttons send is in studio/data/forms.py.
(() => {
  const LABELS = { system: "Instruction (system)", user: "Prompt", assistant: "Answer" };
  const KEPT = "This is what you typed here before. It has not been saved.";
  const nameOf = (field) => field.dataset.draft || (field.matches?.("#pasted textarea") ? "pasted" : "");
  const draftOf = (field) => JSON.parse(sessionStorage.getItem(`draft ${nameOf(field)}`) || "null");
  // `was` is the text that it is typed over, `sent` what was saved last: saved text is no draft any more.
  const store = (field, sent) => {
    if (!nameOf(field)) return;
    const draft = { was: field.defaultValue, now: field.value, sent: sent ? field.value : draftOf(field)?.sent };
    try { sessionStorage.setItem(`draft ${nameOf(field)}`, JSON.stringify(draft)); } catch { /* no room: it stays in the field */ }
  };
  const restore = (field) => {
    field.dataset.kept = "yes";
    const draft = draftOf(field);
    if (!draft || draft.now === field.value || (draft.sent === draft.now && draft.was !== field.value)) return;
    field.value = draft.now;
    if (!field.dataset.draft) return field.dispatchEvent(new Event("input", { bubbles: true }));  // Gradio keeps its own value
    const editor = field.closest(".editor");
    if (editor && !editor.querySelector(".not-saved")) {
      editor.querySelector("h3").after(Object.assign(document.createElement("p"), { className: "quiet not-saved", textContent: KEPT }));
    }
  };
  document.addEventListener("input", (event) => { if (event.isTrusted) store(event.target); }, true);
  new MutationObserver(() => {
    document.querySelectorAll("[data-draft]:not([data-kept]), #pasted textarea:not([data-kept])").forEach(restore);
  }).observe(document.documentElement, { childList: true, subtree: true });

  const field = (role, lines, name) => {
    const label = Object.assign(document.createElement("label"), { className: "turn" });
    const text = Object.assign(document.createElement("textarea"), { rows: lines });
    Object.assign(text.dataset, { role, draft: name });
    label.append(Object.assign(document.createElement("span"), { textContent: LABELS[role] }), text);
    return label;
  };
  const fields = (element) => [...element.querySelectorAll("textarea[data-role]")];
  const addTurns = (element, what) => {
    const turns = element.querySelector(".turns"), has = fields(element), name = has[0].dataset.draft.replace(/[^/]+$/, "");
    let added;
    if (what === "system") {
      if (has[0].dataset.role === "system") return has[0].focus();
      turns.prepend(added = field("system", 2, `${name}system`));
    } else {
      turns.append(added = field("user", 2, `${name}${has.length}`), field("assistant", 3, `${name}${has.length + 1}`));
    }
    added.querySelector("textarea").focus();
  };
  const addLines = (element, count) => {
    const body = element.querySelector("tbody");
    for (let n = 0; n < count; n++) {
      const line = body.lastElementChild.cloneNode(true), number = body.children.length + 1;
      line.querySelector("th").textContent = number;
      line.querySelectorAll("textarea").forEach((cell, i) => {
        cell.value = cell.textContent = "";
        cell.dataset.draft = `grid/${number}/${i}`;
        cell.setAttribute("aria-label", `${i ? "Answer" : "Prompt"} ${number}`);
      });
      body.append(line);
    }
  };
  // Cells as a spreadsheet copies them: tabs between, quotes around those with line breaks or quotes.
  const range = (text) => {
    const lines = [[""]];
    let quoted = false;
    for (let i = 0; i < text.length; i++) {
      const c = text[i], line = lines[lines.length - 1];
      if (quoted && c === '"' && text[i + 1] === '"') { line[line.length - 1] += '"'; i++; }
      else if (quoted && c === '"') quoted = false;
      else if (!quoted && c === '"' && line[line.length - 1] === "") quoted = true;
      else if (!quoted && c === "\t") line.push("");
      else if (!quoted && c === "\n") lines.push([""]);
      else if (c !== "\r") line[line.length - 1] += c;
    }
    return lines.filter((line) => line.some((cell) => cell.trim()));
  };
  document.addEventListener("paste", (event) => {
    const cell = event.target.closest?.(".grid textarea"), text = event.clipboardData?.getData("text/plain") || "";
    if (!cell || !text.includes("\t")) return;
    event.preventDefault();
    const grid = cell.closest(".grid"), cells = range(text), first = fields(grid).indexOf(cell);
    const missing = Math.ceil((first + 2 * cells.length - fields(grid).length) / 2);
    if (missing > 0) addLines(grid, missing);
    cells.forEach((line, n) => line.slice(0, 2 - first % 2).forEach((value, i) => {
      const target = fields(grid)[first + 2 * n + i];
      target.value = value;
      store(target);
    }));
  });
  // Ctrl+Enter saves what is being typed.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.closest?.(".editor, .grid")?.querySelector(".strong")?.click();
  });

  window.studioData = {
    typed: (element) => fields(element).map((one) => {
      store(one, true);
      return { role: one.dataset.role, content: one.value };
    }),
    add: (element, what) => what === "lines" ? addLines(element, 5) : addTurns(element, what),
    clear: (element) => fields(element).forEach((one) => { one.value = ""; store(one); }),
  };
})();
