// The dashboard: a header, and the page that the address names.

import { render } from "preact";

import { CardPage } from "./pages/card";
import { FailuresPage } from "./pages/failures";
import { InstallPage } from "./pages/install";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { LibraryPage } from "./pages/library";
import { ReceiversPage } from "./pages/receivers";
import { ReportPage } from "./pages/report";
import { Header } from "./parts/header";
import { TokenDialog } from "./parts/token_dialog";
import { route } from "./router";
import "./style.css";

const names: Record<string, string> = {
  install: "Start an install",
  failures: "Failures",
  library: "Library",
  card: "Library",
  receivers: "Notifications",
};

function App() {
  const { page, jobId, card } = route.value;
  return (
    <>
      <Header current={names[page] ?? "Installs"} />
      <main id="main" tabIndex={-1}>
        {page === "jobs" && <JobsPage />}
        {page === "install" && <InstallPage />}
        {page === "failures" && <FailuresPage />}
        {page === "library" && <LibraryPage />}
        {page === "card" && <CardPage key={card} path={card} />}
        {page === "receivers" && <ReceiversPage />}
        {page === "job" && <JobPage key={jobId} jobId={jobId} />}
        {page === "report" && <ReportPage key={jobId} jobId={jobId} />}
      </main>
      <TokenDialog />
    </>
  );
}

render(<App />, document.getElementById("app")!);
