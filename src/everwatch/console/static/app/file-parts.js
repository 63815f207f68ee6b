// A file of rows in parts that each can be read by itself: a table's parts begin with its header.

/** The rows of a text: each with the line at which it begins. Line breaks inside quotes are part of a row of a table. */
export function* rowsOf(text, isTable) {
  let [begin, line, first, quoted] = [0, 1, 1, false];
  for (let at = 0; at <= text.length; at += 1) {
    const character = text[at];
    if (character === '"' && isTable) quoted = !quoted;
    if (character !== "\n" && at < text.length) continue;
    if (!quoted || at === text.length) {
      const row = text.slice(begin, at + 1);
      if (row.trim()) yield { row, line: first };
      [begin, first] = [at + 1, line + 1];
    }
    line += 1;
  }
}

/** Parts of at most ``most`` rows: ``{text, line, rows}``, where the API adds ``line`` - 1 to the lines that it counts. */
export function* partsOf(text, isTable, most) {
  let [header, part] = ["", []];
  const made = () => ({
    text: header + part.map(({ row }) => (row.endsWith("\n") ? row : `${row}\n`)).join(""),
    // behind the header the first row of a part is on its second line
    line: header ? part[0].line - 1 : part[0].line, rows: part.length,
  });
  for (const each of rowsOf(text.replace(/^\uFEFF/, ""), isTable)) {
    if (isTable && !header) header = each.row.endsWith("\n") ? each.row : `${each.row}\n`;
    else part.push(each);
    if (part.length === most) {
      yield made();
      part = [];
    }
  }
  if (part.length) yield made();
}

/** The cells of the first ``most`` rows of a table. */
export function firstCells(text, delimiter, most) {
  const found = [];
  for (const { row } of rowsOf(text.replace(/^\uFEFF/, ""), true)) {
    found.push(cellsOf(row.replace(/\r?\n$/, ""), delimiter));
    if (found.length === most) break;
  }
  return found;
}

function cellsOf(row, delimiter) {
  const cells = [""];
  let quoted = false;
  for (let at = 0; at < row.length; at += 1) {
    if (row[at] === '"' && quoted && row[at + 1] === '"') {
      cells[cells.length - 1] += '"';
      at += 1;
    } else if (row[at] === '"') quoted = !quoted;
    else if (row[at] === delimiter && !quoted) cells.push("");
    else cells[cells.length - 1] += row[at];
  }
  return cells.map((cell) => cell.trim());
}
