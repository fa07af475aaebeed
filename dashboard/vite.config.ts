import { defineConfig } from "vite";

// Two pages: the dashboard and the description of the API. Nothing inline: the service serves them under a strict
// content security policy. `npm run dev` passes the API on to the service at INSTALLER_URL.
declare const process: { env: Record<string, string | undefined> };
const service = process.env["INSTALLER_URL"] ?? "http://127.0.0.1:5000";

export default defineConfig({
  base: "./",
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: "../service/dashboard",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: "index.html" } },
  },
  server: {
    proxy: {
      "/resources": service,
      "/openapi.json": service,
      "/socket.io": { target: service, ws: true },
    },
  },
});
