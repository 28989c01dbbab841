"use strict";
// Tables are built when they are opened, and files made when they are asked for, from the data in the page.
(() => {
  const manifest = JSON.parse(document.getElementById("manifest-data").textContent);
  const label = (name) => name.replaceAll("_", " ");
  const dataOf = (panel) => JSON.parse(panel.querySelector("script.data").textContent);

  // As the library's own text: four digits, a dash for what is missing, and nothing in a token that hides.
  const VISIBLE = { "\n": "⏎", "\t": "⇥", "\r": "␍", "\0": "␀", "\u00a0": "⍽" };
  const HIDING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u00a0]/gu;
  const escaped = (c) => VISIBLE[c] || (c === "\u200d" ? c : "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
  function fourDigits(value) {
    if (value === 0) return "0";
    const [digits, exponent] = value.toExponential(3).split("e").map(Number);
    if (exponent >= -4 && exponent < 4) return String(Number(value.toPrecision(4)));
    return digits + "e" + (exponent < 0 ? "-" : "+") + String(Math.abs(exponent)).padStart(2, "0");
  }
  function shown(value, isFloat) {
    if (value === null) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "number") return isFloat ? fourDigits(value) : String(value);
    return value.replace(HIDING, escaped);
  }

  function cell(value, isFloat) {
    const td = document.createElement("td");
    const text = td.appendChild(document.createElement(typeof value === "string" ? "bdi" : "data"));
    text.textContent = shown(value, isFloat);
    if (typeof value === "number") td.className = "n";
    if (typeof value !== "string") text.value = value === null ? "" : JSON.stringify(value);
    return td;
  }

  function built(table) {
    const frame = document.createElement("div");
    frame.className = "scroll";
    const element = frame.appendChild(document.createElement("table"));
    const heads = element.createTHead().insertRow();
    for (const name of table.columns) heads.appendChild(document.createElement("th")).textContent = label(name);
    const body = element.createTBody();
    const n = table.values.length ? table.values[0].length : 0;
    for (let row = 0; row < n; row++) {
      body.insertRow().append(...table.values.map((column, i) => cell(column[row], table.floats[i])));
    }
    return frame;
  }

  const rowsOf = (table) => (table.values[0] || []).map((_, row) =>
    Object.fromEntries(table.columns.map((name, i) => [name, table.values[i][row]])));

  function asJson(data) {
    const parts = data.parts.map((part) => (part.result === null ? part : {
      ...part,
      result: { ...part.result, tables: Object.fromEntries(part.result.tables.map((t) => [t.title, rowsOf(t)])) },
    }));
    return JSON.stringify({ ...data, parts, manifest }, null, 2);
  }

  function csvCell(value) {
    if (value === null) return "";
    if (typeof value === "boolean") return value ? "True" : "False";
    const text = String(value);
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }
  const asCsv = (table) => [table.columns, ...(table.values[0] || []).map((_, row) => table.values.map((c) => c[row]))]
    .map((row) => row.map(csvCell).join(",") + "\n").join("");

  function save(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: type + ";charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  const slug = (...words) => words.filter(Boolean).map((word) =>
    word.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")).join(".");

  for (const panel of document.querySelectorAll(".panel")) {
    for (const details of panel.querySelectorAll("details.table")) {
      details.addEventListener("toggle", () => {
        const { part: at, table: number } = details.dataset;
        const part = dataOf(panel).parts[at];
        const table = part.result.tables[number];
        details.append(built(table));
        const button = details.querySelector("summary").insertAdjacentElement("afterend", document.createElement("button"));
        button.type = "button";
        button.textContent = "Download as CSV";
        button.addEventListener("click", () => save(slug(panel.id, part.label, table.title) + ".csv", "text/csv", asCsv(table)));
      }, { once: true });
    }
    for (const place of panel.querySelectorAll(".downloads")) {
      place.hidden = false;
      place.querySelector("button").addEventListener("click", () =>
        save(panel.id + ".json", "application/json", asJson(dataOf(panel))));
    }
  }
})();
