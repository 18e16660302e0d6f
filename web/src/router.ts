/** Screens and their addresses. Filters live in the query, so that a link reproduces the view. */
import { createRouter, createWebHistory, type LocationQuery, type LocationQueryRaw } from "vue-router";
import SessionsScreen from "./screens/SessionsScreen.vue";

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: "/", name: "sessions", component: SessionsScreen, meta: { title: "Sessions" } },
    {
      path: "/sessions/:id",
      name: "session",
      component: () => import("./screens/SessionScreen.vue"),
      props: true,
      meta: { title: "Session" },
    },
    {
      path: "/coverage",
      name: "coverage",
      component: () => import("./screens/CoverageScreen.vue"),
      meta: { title: "Coverage" },
    },
    {
      path: "/parts",
      name: "health",
      component: () => import("./screens/HealthScreen.vue"),
      meta: { title: "Health" },
    },
    {
      path: "/:rest(.*)*",
      name: "lost",
      component: () => import("./screens/LostScreen.vue"),
      meta: { title: "No such page" },
    },
  ],
});

/** One value of a query parameter, empty when it is absent. */
export function queryText(query: LocationQuery, name: string): string {
  const value = query[name];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

/** A comma-separated query parameter as a set. */
export function querySet(query: LocationQuery, name: string): Set<string> {
  const text = queryText(query, name);
  return new Set(text === "" ? [] : text.split(","));
}

/** The present query with some parameters changed; an empty one is left out. With `step`, back returns to the view before. */
export function changeQuery(changes: Record<string, string>, step = false): void {
  const query: LocationQueryRaw = { ...router.currentRoute.value.query };
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") delete query[name];
    else query[name] = value;
  }
  const target = { query, hash: router.currentRoute.value.hash };
  void (step ? router.push(target) : router.replace(target));
}
