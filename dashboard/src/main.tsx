// The dashboard: a header, and the page that the address names.

import { render } from "preact";

import { TokenDialog } from "./parts/token_dialog";
import { FailuresPage } from "./pages/failures";
import { InstallPage } from "./pages/install";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { ReportPage } from "./pages/report";
import { route } from "./router";
import "./style.css";

function App() {
  const { page, jobId } = route.value;
  const links: [string, string, boolean][] = [
    ["#/", "Installs", page === "jobs" || page === "job" || page === "report"],
    ["#/install", "Start an install", page === "install"],
    ["#/failures", "Failures", page === "failures"],
  ];
  return (
    <>
      <a class="skip" href="#main" onClick={toMain}>
        To the content
      </a>
      <header>
        <a class="name" href="#/">
          Resource installer
        </a>
        <nav aria-label="Pages">
          {links.map(([address, name, isCurrent]) => (
            <a key={address} href={address} {...(isCurrent ? { "aria-current": "page" as const } : {})}>
              {name}
            </a>
          ))}
          <a href="docs">API</a>
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        {page === "jobs" && <JobsPage />}
        {page === "install" && <InstallPage />}
        {page === "failures" && <FailuresPage />}
        {page === "job" && <JobPage key={jobId} jobId={jobId} />}
        {page === "report" && <ReportPage key={jobId} jobId={jobId} />}
      </main>
      <TokenDialog />
    </>
  );
}

// The address names the page, so that the link must not change it.
function toMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

render(<App />, document.getElementById("app")!);
