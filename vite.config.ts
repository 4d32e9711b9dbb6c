// Builds the page of src/dashboard into build/dashboard, from where the api role serves it.
import { defineConfig } from "vite";

export default defineConfig({
  root: "src/dashboard",
  base: "./",
  publicDir: false,
  logLevel: "warn",
  build: {
    outDir: "../../build/dashboard",
    emptyOutDir: true,
    target: "es2022",
    // The page's policy allows files of its own origin only: nothing may be inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
