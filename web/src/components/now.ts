/** One clock for all relative times: once a second for the first minute's sake, one timer for the page. */
import { readonly, ref, type Ref } from "vue";

const now = ref(Date.now());
setInterval(() => {
  if (document.visibilityState === "visible") now.value = Date.now();
}, 1000);

export function useNow(): Readonly<Ref<number>> {
  return readonly(now);
}
