// The dashboard: a header, and the page that the address names.

import { render } from "preact";

import { CardPage } from "./pages/card";
import { FailuresPage } from "./pages/failures";
import { InstallPage } from "./pages/install";
import { InstancePage } from "./pages/instance";
import { InstancesPage } from "./pages/instances";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { KeysPage } from "./pages/keys";
import { LibraryPage } from "./pages/library";
import { ReceiversPage } from "./pages/receivers";
import { ReplicasPage } from "./pages/replicas";
import { ReportPage } from "./pages/report";
import { Header } from "./parts/header";
import { TokenDialog } from "./parts/token_dialog";
import { route } from "./router";
import "./style.css";

const names: Record<string, string> = {
  install: "Start an install",
  failures: "Failures",
  replicas: "Replicas",
  library: "Library",
  card: "Library",
  keys: "Keys",
  instances: "Instances",
  instance: "Instances",
  receivers: "Notifications",
};

function App() {
  const { page, jobId, card, instance } = route.value;
  return (
    <>
      <Header current={names[page] ?? "Installs"} />
      <main id="main" tabIndex={-1}>
        {page === "jobs" && <JobsPage />}
        {page === "install" && <InstallPage />}
        {page === "failures" && <FailuresPage />}
        {page === "replicas" && <ReplicasPage />}
        {page === "instances" && <InstancesPage />}
        {page === "instance" && <InstancePage key={instance} instance={instance} />}
        {page === "keys" && <KeysPage />}
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
