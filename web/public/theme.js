// Runs before the first paint so that a chosen theme does not flash; a file, not inline, to suit a strict content policy.
try {
  var chosen = localStorage.getItem("watchkeeper.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (refused) {
  // Storage may be denied; the system's theme then holds.
}
