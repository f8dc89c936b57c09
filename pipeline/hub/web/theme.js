// Light or dark theme: the system's, until the user chooses one.

const THEME = "pipeline.theme"; // in localStorage: light or dark
const root = document.documentElement;

function shown() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  return root.dataset.theme ?? system;
}

function choose(theme) {
  root.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
}

const chosen = localStorage.getItem(THEME);
if (chosen) choose(chosen);
document.getElementById("theme").addEventListener("click", () => {
  choose(shown() === "dark" ? "light" : "dark");
});
