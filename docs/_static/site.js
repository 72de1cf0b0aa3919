// What scrolls sideways must be reachable by keyboard: wide tables, code and outputs.
function reachable() {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .cell_output, div.math"))
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
window.addEventListener("load", reachable);
window.addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);      // parts that open
