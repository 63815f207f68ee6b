// Runs before the first paint, so that a dark console does not flash white.
(function () {
  try {
    const theme = localStorage.getItem("everwatch.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage is switched off: the system's theme applies
  }
})();
