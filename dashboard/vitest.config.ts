import { defineConfig } from "vitest/config";

// The modules that need neither a browser nor a service. The pages are tested in Chromium, by tests/e2e.
export default defineConfig({ test: { include: ["tests/**/*.test.ts"], sequence: { shuffle: true } } });
