/* Excerpts of search results show a formula's source; this makes it readable. */
"use strict";

const SIGNS = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", Delta: "Δ", epsilon: "ε",
  varepsilon: "ε", eta: "η", theta: "θ", lambda: "λ", mu: "μ", sigma: "σ",
  tau: "τ", phi: "φ", nabla: "∇", partial: "∂", sum: "Σ", prod: "Π",
  cdot: "·", times: "×", pm: "±", approx: "≈", le: "≤", leq: "≤", ge: "≥",
  geq: "≥", ne: "≠", in: "∈", to: "→", mapsto: "↦", leftarrow: "←",
  rightarrow: "→", infty: "∞", sqrt: "√", top: "⊤", ldots: "…", dots: "…",
  lVert: "‖", rVert: "‖", Vert: "‖", mid: "|", log: "log", exp: "exp",
  rho: "ρ", circ: "∘", gg: "≫", ll: "≪", ell: "ℓ", langle: "⟨", rangle: "⟩",
  cdots: "…", Gamma: "Γ", varphi: "φ", propto: "∝", neq: "≠", ln: "ln",
  cos: "cos", min: "min", max: "max", quad: " ", qquad: " ",
};

/** A formula as plain text: signs for commands, no brackets of TeX. */
function readable(tex) {
  return tex
    .replace(/\\[()[\]]|\\(begin|end|label|tag)\{[^}]*\}|\\\\|&/g, " ")
    .replace(/\\[td]?frac\s*(\{[^{}]*\}|\d)\s*(\{[^{}]*\}|\d)/g, "$1/$2")
    .replace(/\\([A-Za-z]+)/g, (_, name) => SIGNS[name] ?? "")
    .replace(/(?<!\\)[{}]/g, "")
    .replace(/\\(.)/g, "$1")
    .replace(/\s+/g, " ")
    .trim();
}

const plainText = Search.htmlToText;
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  // lists of a page's sections stand before and after its text
  for (const list of page.querySelectorAll("#jb-print-docs-body, .bd-toc")) {
    list.remove();
  }
  for (const formula of page.querySelectorAll(".math")) {
    formula.textContent = readable(formula.textContent);
  }
  return plainText(page.documentElement.outerHTML, anchor);
};
