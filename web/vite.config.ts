import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vitest/config";

const server = "http://127.0.0.1:7879";

export default defineConfig({
  base: "/",
  plugins: [vue()],
  build: {
    outDir: "../src/watchkeeper/server/_static",
    emptyOutDir: true,
    target: "es2022",
    // The charting engine is one lazy chunk; the first screen does not load it.
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
  },
  server: {
    host: "127.0.0.1",
    proxy: { "/api": { target: server, ws: true }, "/health": server },
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
