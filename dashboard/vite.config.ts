import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { defineConfig, type Plugin } from "vite";

// Two pages: the dashboard and the description of the API. Nothing inline: the service serves them under a strict
// content security policy. `npm run dev` passes the API on to the service at INSTALLER_URL.
const service = process.env["INSTALLER_URL"] ?? "http://127.0.0.1:5000";
const compressible = /\.(js|css|html|svg)$/;
const compressFrom = 1_024;

// Beside each file of some size its compressed form, which the service finds there.
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir);
    },
    closeBundle: () => {
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf-8" })) {
        if (!compressible.test(name)) continue;
        const text = readFileSync(join(folder, name));
        if (text.length >= compressFrom) writeFileSync(join(folder, `${name}.gz`), gzipSync(text, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [compressed()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: "../service/web/dashboard",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: "index.html", docs: "docs.html" } },
    // What shows the description of the API is one file of that size, and no part of the first load of the dashboard.
    chunkSizeWarningLimit: 2_000,
  },
  server: {
    proxy: {
      "/resources": service,
      "/openapi.json": service,
      "/socket.io": { target: service, ws: true },
    },
  },
});
