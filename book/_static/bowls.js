/* Two bowls, one start: inner steps, and what the query gradients become at the start.
 *
 * Every element with data-bowls ("small" or "full") becomes a figure; what stood in it,
 * a static picture, is replaced. `compute` is the mathematics and draws nothing:
 * bowls L_i(θ) = ½ (θ − a_i)ᵀ A_i (θ − a_i), for support and query alike; k steps of SGD or
 * of Adam from zero moments (β₁ 0.9, β₂ 0.999, ε 1e-8, r = 1e-8 under the root). Beside θ_t
 * it carries the Jacobian ∂θ_t/∂θ forward, so that the exact meta-gradient is
 * (∂θ_k/∂θ)ᵀ ∇L(θ_k), and the first-order one ∇L(θ_k).
 */
"use strict";

(() => {
  const SHAPES = [
    [[3, 1], [1, 1]],
    [[0.8, -0.6], [-0.6, 2.5]],
  ];
  const CENTRES = [[-1, 0.6], [1.2, -0.4]];
  const START = { theta: [2, 1.5], alpha: 0.1, k: 3, exact: true, adam: false };
  const BETAS = [0.9, 0.999];
  const EPS = 1e-8;
  const ROOT = 1e-8;
  const OUTER = 0.1; // rate of an outer step

  const times = (A, x) => A.map((row) => row[0] * x[0] + row[1] * x[1]);
  const product = (A, B) =>
    A.map((row) => [0, 1].map((j) => row[0] * B[0][j] + row[1] * B[1][j]));
  const transpose = (A) => [[A[0][0], A[1][0]], [A[0][1], A[1][1]]];
  const norm = (x) => Math.hypot(x[0], x[1]);
  const dot = (x, y) => x[0] * y[0] + x[1] * y[1];

  const gradient = (i, theta) =>
    times(SHAPES[i], [theta[0] - CENTRES[i][0], theta[1] - CENTRES[i][1]]);
  const loss = (i, theta) =>
    dot([theta[0] - CENTRES[i][0], theta[1] - CENTRES[i][1]], gradient(i, theta)) / 2;

  /* One task: its path, the query gradient, and that pulled back to θ. */
  function adapt(i, { theta, alpha, k, adam }) {
    const path = [theta];
    let jacobian = [[1, 0], [0, 1]];
    const m = [0, 0];
    const v = [0, 0];
    const dm = [[0, 0], [0, 0]];
    const dv = [[0, 0], [0, 0]];
    for (let t = 1; t <= k; t++) {
      const here = path[path.length - 1];
      const g = gradient(i, here);
      const dg = product(SHAPES[i], jacobian); // ∂g/∂θ
      const next = [0, 0];
      const moved = [[0, 0], [0, 0]];
      for (const c of [0, 1]) {
        if (!adam) {
          next[c] = here[c] - alpha * g[c];
          for (const j of [0, 1]) moved[c][j] = jacobian[c][j] - alpha * dg[c][j];
          continue;
        }
        const corrected = [1 - BETAS[0] ** t, 1 - BETAS[1] ** t];
        m[c] = BETAS[0] * m[c] + (1 - BETAS[0]) * g[c];
        v[c] = BETAS[1] * v[c] + (1 - BETAS[1]) * g[c] ** 2;
        const mean = m[c] / corrected[0];
        const root = Math.sqrt(v[c] / corrected[1] + ROOT);
        next[c] = here[c] - (alpha * mean) / (root + EPS);
        for (const j of [0, 1]) {
          dm[c][j] = BETAS[0] * dm[c][j] + (1 - BETAS[0]) * dg[c][j];
          dv[c][j] = BETAS[1] * dv[c][j] + (1 - BETAS[1]) * 2 * g[c] * dg[c][j];
          const first = dm[c][j] / corrected[0] / (root + EPS);
          const second =
            (mean * dv[c][j]) / corrected[1] / (2 * root * (root + EPS) ** 2);
          moved[c][j] = jacobian[c][j] - alpha * (first - second);
        }
      }
      path.push(next);
      jacobian = moved;
    }
    const query = gradient(i, path[k]);
    return { path, query, pulled: times(transpose(jacobian), query), loss: loss(i, path[k]) };
  }

  function compute(values) {
    const tasks = [0, 1].map((i) => adapt(i, values));
    const mean = (key) => [0, 1].map((c) => (tasks[0][key][c] + tasks[1][key][c]) / 2);
    const exact = mean("pulled");
    const first = mean("query");
    const cosine = dot(exact, first) / (norm(exact) * norm(first) || 1);
    return { tasks, exact, first, cosine, objective: (tasks[0].loss + tasks[1].loss) / 2 };
  }

  /* --- drawing --- */

  const NS = "http://www.w3.org/2000/svg";
  const SCALE = 100; // px per unit
  const LEFT = -2.6;
  const TOP = 2.4;
  const WIDTH = 560;
  const HEIGHT = 430;
  const LEVELS = [0.15, 0.6, 1.5, 3];
  const xy = (p) => [(p[0] - LEFT) * SCALE, (TOP - p[1]) * SCALE];
  const shown = (x) => (Math.abs(x) < 0.005 ? "0.00" : x.toFixed(2)).replace("-", "−");

  function make(name, attributes, parent) {
    const svg = ["svg", "g", "path", "polyline", "circle", "rect", "text", "title", "desc"];
    const element = svg.includes(name)
      ? document.createElementNS(NS, name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "text") element.textContent = value;
      else element.setAttribute(key, value);
    }
    if (parent) parent.append(element);
    return element;
  }

  function ellipse(i, level) {
    const [[a, b], [, d]] = SHAPES[i];
    const middle = (a + d) / 2;
    const apart = Math.hypot((a - d) / 2, b);
    const turn = Math.atan2(2 * b, a - d) / 2;
    const radii = [middle + apart, middle - apart].map((x) => Math.sqrt((2 * level) / x));
    const points = [];
    for (let s = 0; s <= 72; s++) {
      const u = radii[0] * Math.cos((s * Math.PI) / 36);
      const w = radii[1] * Math.sin((s * Math.PI) / 36);
      points.push(
        xy([
          CENTRES[i][0] + u * Math.cos(turn) - w * Math.sin(turn),
          CENTRES[i][1] + u * Math.sin(turn) + w * Math.cos(turn),
        ]).join(),
      );
    }
    return points.join(" ");
  }

  /* An arrow downhill, as long as the root of the gradient's norm. */
  function arrow(parent, at, g, attributes) {
    const size = norm(g);
    if (size < 1e-6 || !Number.isFinite(size)) return;
    const [x, y] = xy(at);
    const length = Math.min(55 * Math.sqrt(size), 400);
    const [ux, uy] = [-g[0] / size, g[1] / size];
    const [tx, ty] = [x + ux * length, y + uy * length];
    const back = Math.min(13, length * 0.6);
    const head = [-1, 1].map((side) => [
      tx - ux * back - side * uy * back * 0.45,
      ty - uy * back + side * ux * back * 0.45,
    ]);
    const d = `M${x},${y}L${tx},${ty}M${head[0]}L${tx},${ty}L${head[1]}`;
    make("path", { d, fill: "none", "stroke-width": 3, ...attributes }, parent);
  }

  /* A place for a label: off the way downhill, on its lower side. */
  function beside(at, g) {
    const size = norm(g) || 1;
    const [x, y] = xy(at);
    const [px, py] = [g[1] / size, g[0] / size]; // across the way
    const side = py < 0 || (py === 0 && px > 0) ? -1 : 1;
    return [x + side * px * 24, y + side * py * 24 + 6];
  }

  let count = 0;

  function figure(host) {
    const full = host.dataset.bowls === "full";
    const name = `bowls-${count++}`;
    const values = { ...START, theta: [...START.theta] };
    let trail = [values.theta];
    host.replaceChildren();
    host.classList.add("bowls");
    const svg = make(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-labelledby": `${name}-title` },
      host,
    );
    make("title", { id: `${name}-title`, text: "Two bowls, inner steps and the meta-gradient" }, svg);
    for (const i of [0, 1]) {
      const group = make("g", { class: `task${i}`, "aria-hidden": "true" }, svg);
      for (const level of LEVELS) {
        make(
          "polyline",
          { points: ellipse(i, level), fill: "none", stroke: "var(--mark)", opacity: 0.4 },
          group,
        );
      }
      const [x, y] = xy(CENTRES[i]);
      const left = i === 0; // on the side that no path comes from
      const place = left ? { x: x - 8, y: y - 10 } : { x: x + 5, y: y + 22 };
      const anchor = left ? "end" : "start";
      make("text", { ...place, "text-anchor": anchor, text: `task ${i + 1}` }, group);
      const d = `M${x - 6},${y}h12M${x},${y - 6}v12`;
      make("path", { d, stroke: "var(--mark)", "stroke-width": 2 }, group);
    }
    const moving = make("g", { "aria-hidden": "true" }, svg);
    const handle = make(
      "rect",
      {
        class: "theta",
        width: 16,
        height: 16,
        fill: "var(--pst-color-text-base)",
        tabindex: 0,
        role: "slider",
        "aria-label": "θ, the start: arrow keys move it",
        "aria-valuemin": -2.5,
        "aria-valuemax": 2.9,
      },
      svg,
    );
    const controls = make("div", { class: "controls" }, host);
    const said = make("output", { class: "said", "aria-live": "polite" }, host);
    make(
      "p",
      {
        class: "legend",
        text:
          "Dots: inner steps. Pale arrows: the query gradients at θ₁ and θ₂, downhill. " +
          "Coloured arrows at θ: what the derivative makes of them there. Thick: their mean, " +
          "the way of the outer step. An arrow is as long as the root of its gradient's norm. " +
          "Drag the square, or move it with the arrow keys.",
      },
      host,
    );

    function draw() {
      const found = compute(values);
      moving.replaceChildren();
      make(
        "polyline",
        {
          points: trail.map((p) => xy(p).join()).join(" "),
          fill: "none",
          stroke: "currentColor",
          "stroke-dasharray": "2 4",
        },
        moving,
      );
      found.tasks.forEach((task, i) => {
        const group = make("g", { class: `task${i}` }, moving);
        const stroke = "var(--mark)";
        const points = task.path.map((p) => xy(p).join()).join(" ");
        make("polyline", { points, fill: "none", stroke, "stroke-width": 2 }, group);
        for (const p of task.path.slice(1)) {
          const [cx, cy] = xy(p);
          make("circle", { cx, cy, r: 4.5, fill: stroke }, group);
        }
        const end = task.path[values.k];
        arrow(group, end, task.query, { stroke, opacity: 0.55 });
        arrow(group, values.theta, values.exact ? task.pulled : task.query, { stroke });
        const [x, y] = beside(end, task.query);
        make("text", { x, y, "text-anchor": "middle", text: `θ${"₁₂"[i]}` }, group);
      });
      const thick = { stroke: "currentColor", "stroke-width": 5 };
      arrow(moving, values.theta, values.exact ? found.exact : found.first, thick);
      const [x, y] = xy(values.theta);
      handle.setAttribute("x", x - 8);
      handle.setAttribute("y", y - 8);
      handle.setAttribute("aria-valuenow", values.theta[0].toFixed(2));
      const place = values.theta.map(shown).join(", ");
      handle.setAttribute("aria-valuetext", `θ = (${place})`);
      make("text", { x: x + 12, y: y - 8, text: "θ" }, moving);
      const share = norm(found.first) / (norm(found.exact) || 1);
      said.textContent =
        `θ = (${place}), F(θ) = ${shown(found.objective)}. ` +
        `Meta-gradient (${found.exact.map(shown).join(", ")}); ` +
        `first order (${found.first.map(shown).join(", ")}): ` +
        `${share.toFixed(2)} times as long, cosine ${shown(found.cosine)}.`;
      host.dataset.exact = JSON.stringify(found.exact);
      host.dataset.first = JSON.stringify(found.first);
    }

    function move(theta) {
      values.theta = [
        Math.min(2.9, Math.max(-2.5, theta[0])),
        Math.min(2.3, Math.max(-1.8, theta[1])),
      ];
      trail = [values.theta];
      draw();
    }

    function slider(label, key, min, max, step) {
      const box = make("label", { text: `${label} ` }, controls);
      const input = make("input", { type: "range", min, max, step, value: values[key] }, box);
      const value = make("span", { class: "value", text: values[key] }, box);
      input.addEventListener("input", () => {
        values[key] = Number(input.value);
        value.textContent = input.value;
        draw();
      });
    }

    function choice(label, key, names) {
      const box = make("label", { text: `${label} ` }, controls);
      const select = make("select", {}, box);
      for (const text of names) make("option", { text }, select);
      select.addEventListener("change", () => {
        values[key] = select.selectedIndex === (key === "exact" ? 0 : 1);
        draw();
      });
    }

    function button(text, action) {
      make("button", { type: "button", text }, controls).addEventListener("click", action);
    }

    slider("inner rate α", "alpha", 0, 0.5, 0.01);
    slider("inner steps k", "k", 0, 8, 1);
    if (full) {
      choice("derivative", "exact", ["exact", "first order"]);
      choice("inner optimizer", "adam", ["SGD", "Adam, fresh moments"]);
    }
    button("20 outer steps", () => {
      for (let s = 0; s < 20; s++) {
        const found = compute(values);
        const g = values.exact ? found.exact : found.first;
        values.theta = values.theta.map((x, c) => x - OUTER * g[c]);
        trail = [...trail, values.theta];
      }
      draw();
    });
    button("back to the start", () => move([...START.theta]));

    handle.addEventListener("keydown", (event) => {
      const by = event.shiftKey ? 0.25 : 0.05;
      const ways = {
        ArrowLeft: [-by, 0],
        ArrowRight: [by, 0],
        ArrowUp: [0, by],
        ArrowDown: [0, -by],
      };
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      move([values.theta[0] + way[0], values.theta[1] + way[1]]);
    });
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = svg.getBoundingClientRect();
      const unit = (WIDTH / box.width) / SCALE;
      move([LEFT + (event.clientX - box.left) * unit, TOP - (event.clientY - box.top) * unit]);
    });
    draw();
  }

  window.bowls = { compute };
  document.querySelectorAll("[data-bowls]").forEach(figure);
})();
