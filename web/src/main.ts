import { createApp } from "vue";
import App from "./App.vue";
import { listenForKeys } from "./keyboard/keys";
import { startLive } from "./live/store";
import { router } from "./router";
import "./theme/base.css";

listenForKeys();
startLive();
createApp(App).use(router).mount("#app");
