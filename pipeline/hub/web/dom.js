// Making elements. Whatever comes from a transcript goes in as text, never as markup.

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

/** Give `element` the text, touching the page only where it differs. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Append what is new of `text` where it goes on: a long answer is not written again each time. */
export function extend(element, text) {
  const shown = element.firstChild;
  if (shown?.nodeType === Node.TEXT_NODE && text.startsWith(shown.data)) {
    if (text.length > shown.data.length) shown.appendData(text.slice(shown.data.length));
  } else write(element, text);
}

export const find = (id) => document.getElementById(id);
