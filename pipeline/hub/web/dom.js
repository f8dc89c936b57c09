// DOM helpers. Text of transcripts is inserted as text, never as markup.

/** Return a new element; `children` are elements, or anything else as text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set the text of `element` if it differs. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Append the new part of `text` if it continues the shown text, so long text is not rewritten. */
export function extend(element, text) {
  const shown = element.firstChild;
  if (shown?.nodeType === Node.TEXT_NODE && text.startsWith(shown.data)) {
    if (text.length > shown.data.length) shown.appendData(text.slice(shown.data.length));
  } else write(element, text);
}

export const find = (id) => document.getElementById(id);
