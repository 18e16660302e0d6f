/** Light or dark: the system's choice, unless the user chose here. */
import { computed, ref, watchEffect } from "vue";

export type ThemeChoice = "system" | "light" | "dark";

const STORAGE_KEY = "watchkeeper.theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = ref(systemDark.matches);
systemDark.addEventListener("change", (event) => (systemIsDark.value = event.matches));

function stored(): ThemeChoice {
  const set = document.documentElement.dataset["theme"];
  return set === "light" || set === "dark" ? set : "system";
}

const choice = ref<ThemeChoice>(stored());
const theme = computed<"light" | "dark">(() =>
  choice.value === "system" ? (systemIsDark.value ? "dark" : "light") : choice.value,
);

watchEffect(() => {
  const root = document.documentElement;
  if (choice.value === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = choice.value;
});

function remember(next: ThemeChoice): void {
  choice.value = next;
  try {
    if (next === "system") localStorage.removeItem(STORAGE_KEY);
    else localStorage.setItem(STORAGE_KEY, next);
  } catch {
    // Storage may be denied; the choice then lasts until the page is closed.
  }
}

const order: ThemeChoice[] = ["system", "light", "dark"];

export function useTheme() {
  return {
    choice,
    theme,
    /** System, light, dark, and around again. */
    next: () => remember(order[(order.indexOf(choice.value) + 1) % order.length] ?? "system"),
  };
}

/** The present value of a design token, for charts, which draw without CSS. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
