// Made by `make types` from the service's own types: do not edit.
// An event of a type that this version does not know has only the fields that all events have.

export type JobState = "queued" | "running" | "paused" | "completed" | "failed" | "cancelled";
export type JobEvent =
  | CancelRequestedEvent
  | ConnectingEvent
  | FileKeptEvent
  | FileRemovedEvent
  | HostKeyAcceptedEvent
  | JobCancelledEvent
  | JobCompletedEvent
  | JobFailedEvent
  | JobMovedEvent
  | JobPausedEvent
  | JobQueuedEvent
  | JobReattachedEvent
  | JobResumedEvent
  | JobStartedEvent
  | JobTakenOverEvent
  | LimitsChangedEvent
  | LinkLostEvent
  | OutputEvent
  | ProgressEvent
  | QueuePositionChangedEvent
  | ResourceCancelledEvent
  | ResourceFailedEvent
  | ResourceInstalledEvent
  | ResourceRetryScheduledEvent
  | ResourceStalledEvent
  | ResourceStartedEvent
  | ResourceVerifiedEvent
  | ResourceWarnedEvent
  | RunEndedEvent
  | RunStartedEvent
  | StageCompleteEvent
  | StageStartEvent
  | VerificationStartedEvent;
export type ResourceState = "pending" | "running" | "installed" | "failed" | "cancelled";

export interface Skipped {
  job_id: string;
  skipped: [number, number][];
}
export interface SocketRefusal {
  success: false;
  message: string;
  code: string;
  retry_after_seconds?: number;
}
export interface SubscribeAnswer {
  job_id: string;
  last_sequence: number;
  state: JobState;
  success: true;
}
export interface SubscribeRequest {
  job_id: string;
  after?: number;
  replay?: "full" | "compact";
}
export interface Subscribed {
  job_id: string;
  last_sequence: number;
  state: JobState;
}
export interface UnknownJobError {
  job_id: string;
  error: string;
  cause: "unknown_job";
  code: string;
}
export interface UnsubscribeAnswer {
  success: true;
  job_id: string;
}
export interface UnsubscribeRequest {
  job_id: string;
}
export interface CancelRequestedEvent {
  type: "cancel_requested";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
}
export interface ConnectingEvent {
  type: "connecting";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  reason: string;
  text: string;
  seconds: number;
  next_seconds: number;
}
export interface FileKeptEvent {
  type: "file_kept";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  path: string;
  bytes: number;
}
export interface FileRemovedEvent {
  type: "file_removed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  path: string;
  size?: number | null;
}
export interface HostKeyAcceptedEvent {
  type: "host_key_accepted";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  host_key_sha256: string;
  algorithm: string;
}
export interface JobCancelledEvent {
  type: "job_cancelled";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  success?: boolean;
  error: string;
  cause: string;
  hint: string;
  installed: number;
  total: number;
  results: {
    [k: string]: unknown;
  }[];
  partial_files?: string[];
}
export interface JobCompletedEvent {
  type: "job_completed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  success?: boolean;
  installed: number;
  total: number;
  results: {
    [k: string]: unknown;
  }[];
}
export interface JobFailedEvent {
  type: "job_failed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  success?: boolean;
  error: string;
  cause: string;
  hint: string;
  installed: number;
  total: number;
  results: {
    [k: string]: unknown;
  }[];
  partial_files?: string[];
}
export interface JobMovedEvent {
  type: "job_moved";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  before: string;
  place: string;
}
export interface JobPausedEvent {
  type: "job_paused";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
}
export interface JobQueuedEvent {
  type: "job_queued";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  ssh_host: string;
  ssh_port: number;
  ssh_user: string;
  ui_home: string;
  resources: {
    [k: string]: unknown;
  }[];
  host_key_sha256?: string | null;
  parallel?: number;
  bandwidth_limit?: number | null;
  max_attempts?: number;
  verify?: boolean;
  reinstall?: boolean;
  removes?: string[];
  wait_for_ssh_seconds?: number | null;
  place?: string;
  retry_of?: string | null;
  idempotency_key?: string | null;
  body_sha256?: string | null;
}
export interface JobReattachedEvent {
  type: "job_reattached";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  after_restart?: boolean;
}
export interface JobResumedEvent {
  type: "job_resumed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
}
export interface JobStartedEvent {
  type: "job_started";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
}
export interface JobTakenOverEvent {
  type: "job_taken_over";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  replica: string;
  replica_id: number;
}
export interface LimitsChangedEvent {
  type: "limits_changed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  bandwidth_limit: number | null;
}
export interface LinkLostEvent {
  type: "link_lost";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  reason: string;
  times?: number;
}
export interface OutputEvent {
  type: "output";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  line: string;
  cut?: boolean;
}
export interface ProgressEvent {
  type: "progress";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  stage: string;
  percent?: number | null;
  downloaded?: string | null;
  total?: string | null;
  elapsed?: string | null;
  remaining?: string | null;
  speed?: string | null;
  downloaded_bytes?: number | null;
  total_bytes?: number | null;
  bytes_per_second?: number | null;
  eta_seconds?: number | null;
  resource_eta_seconds?: number | null;
  job_eta_seconds?: number | null;
  left_out?: number;
}
export interface QueuePositionChangedEvent {
  type: "queue_position_changed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  queue_position: number;
}
export interface ResourceCancelledEvent {
  type: "resource_cancelled";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  exit_code?: number | null;
  seconds?: number | null;
  partial_files?: string[];
}
export interface ResourceFailedEvent {
  type: "resource_failed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  cause: string;
  error: string;
  hint: string;
  exit_code: number | null;
  seconds: number | null;
  tail: string[];
  partial_files?: string[];
}
export interface ResourceInstalledEvent {
  type: "resource_installed";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  exit_code: number | null;
  seconds: number;
}
export interface ResourceRetryScheduledEvent {
  type: "resource_retry_scheduled";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  next_attempt: number;
  max_attempts: number;
  delay_seconds: number;
  cause: string;
}
export interface ResourceStalledEvent {
  type: "resource_stalled";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  stall_seconds: number;
}
export interface ResourceStartedEvent {
  type: "resource_started";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  title: string;
  card_sha256: string;
  bandwidth?: number | null;
}
export interface ResourceVerifiedEvent {
  type: "resource_verified";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  file: string;
  bytes: number;
  sha256: string | null;
  held_against: string | null;
  result: string;
  checked?: string[];
}
export interface ResourceWarnedEvent {
  type: "resource_warning";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  code: string;
  text: string;
  paths?: string[];
}
export interface RunEndedEvent {
  type: "run_ended";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  run: number;
  exit_code: number;
  bytes?: number | null;
  announced_bytes?: number | null;
  destination?: string | null;
  name?: string | null;
}
export interface RunStartedEvent {
  type: "run_started";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  run: number;
  tool: string;
  destination?: string | null;
  address?: string | null;
  judged?: boolean;
}
export interface StageCompleteEvent {
  type: "stage_complete";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  name: string;
}
export interface StageStartEvent {
  type: "stage_start";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
  name: string;
}
export interface VerificationStartedEvent {
  type: "verification_started";
  job_id: string;
  sequence: number;
  at: string;
  resource?: string;
  attempt?: number;
}
export interface BundleBody {
  format?: "resource-installer-cards-1";
  cards: BundledCardBody[];
}
export interface BundledCardBody {
  path: string;
  card: string;
}
export interface CardRequest {
  card: string;
}
export interface ChangeRequest {
  bandwidth_limit: number | null;
}
export interface CheckRequest {
  ssh_host: string;
  ssh_port: number;
  ui_home?: string;
  ssh_user?: string | null;
  host_key_sha256?: string | null;
}
export interface ImportRequest {
  bundle: BundleBody;
  confirm?: string | null;
  replace?: {
    [k: string]: string;
  };
}
export interface InstallRequest {
  ssh_host: string;
  ssh_port: number;
  ui_home: string;
  resources: string[];
  ssh_user?: string | null;
  host_key_sha256?: string | null;
  parallel?: number;
  bandwidth_limit?: number | null;
  max_attempts?: number | null;
  verify?: boolean;
  reinstall?: boolean;
  wait_for_ssh_seconds?: number | null;
}
export interface KeyRequest {
  value: string;
}
export interface MoveRequest {
  before: string;
}
export interface NewCardRequest {
  url?: string | null;
  file?: string | null;
  folder?: string | null;
  card?: string | null;
  path?: string | null;
}
export interface PreviewRequest {
  url: string;
  file?: string | null;
  folder?: string | null;
  path?: string | null;
  picture?: boolean;
}
export interface ReceiverRequest {
  url: string;
  secret?: string | null;
  name?: string | null;
  events?: ("completed" | "failed" | "cancelled" | "stalled" | "instance_lost")[] | null;
}
export interface RemovalRequest {
  ui_home: string;
  paths: string[];
}
export interface WorkflowRequest {
  workflow: string;
}
export interface Accepted {
  success: true;
  job_id: string;
  message: string;
  resource_count: number;
}
export interface AddedReceiver {
  receiver_id: string;
  name: string;
  kind: "webhook" | "apprise";
  address: string;
  source: "settings" | "stored";
  events: string[];
  created_at: string;
  pending: number;
  last: DeliveryView | null;
  success: true;
  message: string;
  secret: string | null;
}
export interface DeliveryView {
  job_id: string;
  event: string;
  at: string;
  state: string;
  tries: number;
  next_at: string | null;
  ended_at: string | null;
  status: number | null;
  error: string | null;
}
export interface Attempt {
  resource: string;
  attempt: number;
  outcome: string;
  cause: string | null;
  error: string | null;
  exit_code: number | null;
  started_at: string;
  ended_at: string | null;
  seconds: number | null;
  bytes: number;
  bytes_per_second: number | null;
}
export interface BrokenCardView {
  path: string;
  error: string;
}
export interface Bundle {
  format: "resource-installer-cards-1";
  cards: BundledCardView[];
}
export interface BundledCardView {
  path: string;
  card: string;
}
export interface CardFileView {
  path: string;
  sha256: string | null;
  size: number | null;
}
export interface CardInstallView {
  job_id: string;
  instance: string;
  ui_home: string;
  state: string;
  verified: string | null;
  cause: string | null;
  card_sha256: string | null;
  started_at: string | null;
  ended_at: string | null;
}
export interface CardInstalls {
  path: string;
  installs: CardInstallView[];
}
export interface CardPreview {
  source: "civitai" | "huggingface" | "direct";
  path: string;
  card: string | null;
  commands: string;
  title: string;
  type: string | null;
  folder: string;
  folder_is_guess: boolean;
  file: FoundFileView | null;
  choices: FileChoice[];
  url: string;
  version: string | null;
  basemodel: string | null;
  license: string | null;
  creator: string | null;
  trigger_words: string[];
  image: string | null;
  picture: string | null;
  missing: MissingKey[];
  duplicates: DuplicateCard[];
  notes: string[];
}
export interface FoundFileView {
  name: string;
  size: number | null;
  sha256: string | null;
}
export interface FileChoice {
  file: string;
  size: number | null;
}
export interface MissingKey {
  setting: string;
  message: string;
}
export interface DuplicateCard {
  path: string;
  title: string;
  why: "sha256" | "AIR";
}
export interface CardView {
  path: string;
  title: string;
  type: string | null;
  ecosystem: string | null;
  basemodel: string | null;
  version: string | number | null;
  tags: string[];
  size: number | null;
  sha256: string;
  files: CardFileView[];
  url: string | null;
  license: string | null;
  image: string | null;
  dependencies: string[];
  aliases: string[];
  AIR: string | null;
  installs: "nothing" | null;
  background: boolean;
  description: string;
  warnings: string[];
  [k: string]: unknown;
}
export interface CardWithScript {
  path: string;
  title: string;
  type: string | null;
  ecosystem: string | null;
  basemodel: string | null;
  version: string | number | null;
  tags: string[];
  size: number | null;
  sha256: string;
  files: CardFileView[];
  url: string | null;
  license: string | null;
  image: string | null;
  dependencies: string[];
  aliases: string[];
  AIR: string | null;
  installs: "nothing" | null;
  background: boolean;
  description: string;
  warnings: string[];
  download: string;
  [k: string]: unknown;
}
export interface Cards {
  resources: CardView[];
  broken: BrokenCardView[];
  writable: boolean;
}
export interface CatalogueEntry {
  name: string;
  filename: string;
  url: string;
  folder: string | null;
  type: string | null;
  base: string | null;
  size: string | null;
}
export interface CataloguePage {
  source: string;
  count: number;
  refreshed_at: string | null;
  entries: CatalogueEntry[];
}
export interface ChangedKey {
  name: string;
  title: string;
  use: string;
  setting: string;
  page: string;
  set: boolean;
  source: ("environment" | "stored") | null;
  stored: boolean;
  set_at: string | null;
  problem: string | null;
  success: true;
  message: string;
}
export interface ChangedRental {
  success: true;
  id: number;
  message: string;
}
export interface CheckLine {
  check: "name" | "port" | "host_key" | "login" | "comfyui" | "disk" | "tools";
  state: "ok" | "warning" | "failed" | "skipped";
  text: string;
}
export interface CheckedInstance {
  success: true;
  ok: boolean;
  instance: string;
  lines: CheckLine[];
  host_key_sha256: string | null;
  ui_homes: string[];
  public_key: string | null;
  where: string[];
}
export interface CheckedKey {
  success: true;
  name: string;
  verdict: "accepted" | "refused" | "unknown";
  message: string;
}
export interface Conflict {
  success: false;
  message: string;
  code: string;
  errors: WrongField[];
  retry_after_seconds?: number;
  state?: string | null;
  possible?: string[] | null;
}
export interface WrongField {
  field: string;
  message: string;
}
export interface Controlled {
  job_id: string;
  state: JobState;
  link: string | null;
  instance: string;
  ui_home: string;
  last_sequence: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  installed: number;
  total: number;
  error: string | null;
  cause: string | null;
  queue_position: number | null;
  job_eta_seconds: number | null;
  cancelling: boolean;
  parallel: number;
  bandwidth_limit: number | null;
  max_attempts: number;
  verify: boolean;
  reinstall: boolean;
  removes: string[];
  wait_for_ssh_seconds: number | null;
  retry_of: string | null;
  thinned_at: string | null;
  possible: string[];
  resources: JobResource[];
  success: true;
  message: string;
}
export interface JobResource {
  resource: string;
  state: ResourceState;
  attempt: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  exit_code: number | null;
  seconds: number | null;
  title: string;
  dependencies: string[];
  name: string | null;
  stage: string | null;
  percent: number | null;
  downloaded_bytes: number | null;
  total_bytes: number | null;
  bytes_per_second: number | null;
  eta_seconds: number | null;
  resource_eta_seconds: number | null;
  size_bytes: number | null;
  verified: string | null;
  retry_at: string | null;
  started_at: string | null;
  ended_at: string | null;
}
export interface ControlledJobs {
  success: true;
  jobs: JobView[];
}
export interface JobView {
  job_id: string;
  state: JobState;
  link: string | null;
  instance: string;
  ui_home: string;
  last_sequence: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  installed: number;
  total: number;
  error: string | null;
  cause: string | null;
  queue_position: number | null;
  job_eta_seconds: number | null;
  cancelling: boolean;
  parallel: number;
  bandwidth_limit: number | null;
  max_attempts: number;
  verify: boolean;
  reinstall: boolean;
  removes: string[];
  wait_for_ssh_seconds: number | null;
  retry_of: string | null;
  thinned_at: string | null;
  possible: string[];
  resources: JobResource[];
}
export interface DatabaseState {
  engine: string;
  version: string;
  writable: boolean;
  revision: string | null;
  head: string | null;
  synchronous_standby: boolean | null;
}
export interface Deleted {
  success: true;
  job_id: string;
  message: string;
}
export interface DeletedCard {
  success: true;
  path: string;
  message: string;
}
export interface DeletedKey {
  success: true;
  name: string;
  message: string;
}
export interface DeletedReceiver {
  success: true;
  receiver_id: string;
  message: string;
}
export interface DiskView {
  total: number;
  free: number;
}
export interface EventPage {
  job_id: string;
  state: JobState;
  last_sequence: number;
  skipped?: [number, number][] | null;
  events: JobEvent[];
}
export interface Evidence {
  sequence: number | null;
  source_offset: number | null;
  line: string | null;
}
export interface Failure {
  resource: string;
  attempt: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  exit_code: number | null;
  evidence: Evidence[];
  retry_would_help: boolean;
  retry: string;
  last_lines: string[];
}
export interface FailureGroup {
  cause: string | null;
  host: string;
  card: string;
  count: number;
  last_at: string | null;
  error: string | null;
}
export interface FailureGroups {
  failures: FailureGroup[];
}
export interface Health {
  status: "ok";
}
export interface Import {
  success: true;
  message: string;
  saved: boolean;
  digest: string;
  cards: ImportedCard[];
}
export interface ImportedCard {
  path: string;
  title: string | null;
  state: "new" | "same" | "other" | "broken" | "saved" | "replaced";
  commands: string;
  dependencies: string[];
  there: string | null;
  error: string | null;
}
export interface InspectedWorkflow {
  models: NeededModel[];
}
export interface NeededModel {
  name: string;
  state: "in_library" | "missing" | "unknown" | "refused";
  folder: string | null;
  url: string | null;
  sha256: string | null;
  card: string | null;
  node: string | null;
  source: ("workflow" | "catalogue") | null;
  reason: string | null;
}
export interface InstanceDetail {
  instance: string;
  ssh_host: string;
  ssh_port: number;
  ssh_user: string;
  ui_home: string;
  jobs: number;
  active: number;
  last_job_at: string;
  recent: JobSummary[];
}
export interface JobSummary {
  job_id: string;
  state: JobState;
  link: string | null;
  instance: string;
  ui_home: string;
  last_sequence: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
  installed: number;
  total: number;
  error: string | null;
  cause: string | null;
  queue_position: number | null;
  job_eta_seconds: number | null;
  cancelling: boolean;
  parallel: number;
  bandwidth_limit: number | null;
  max_attempts: number;
  verify: boolean;
  reinstall: boolean;
  removes: string[];
  wait_for_ssh_seconds: number | null;
  retry_of: string | null;
  thinned_at: string | null;
  possible: string[];
}
export interface InstanceList {
  instances: InstanceView[];
}
export interface InstanceView {
  instance: string;
  ssh_host: string;
  ssh_port: number;
  ssh_user: string;
  ui_home: string;
  jobs: number;
  active: number;
  last_job_at: string;
}
export interface InstanceModels {
  instance: string;
  ui_home: string;
  missing: boolean;
  cut: boolean;
  disk: DiskView | null;
  files: ModelFileView[];
  seconds: number;
}
export interface ModelFileView {
  path: string;
  size: number;
  modified_at: string | null;
  kind: "model" | "half" | "text" | "empty" | "broken_link" | "other";
  card: string | null;
  removable: boolean;
}
export interface JobPage {
  jobs: JobSummary[];
  next: string | null;
}
export interface KeyList {
  keys: KeyView[];
  ssh: SshKeyView;
}
export interface KeyView {
  name: string;
  title: string;
  use: string;
  setting: string;
  page: string;
  set: boolean;
  source: ("environment" | "stored") | null;
  stored: boolean;
  set_at: string | null;
  problem: string | null;
}
export interface SshKeyView {
  set: boolean;
  public_key: string | null;
  fingerprint: string | null;
  set_at: string | null;
  problem: string | null;
  where: string[];
}
export interface LibraryState {
  sha256: string | null;
  same: boolean | null;
}
export interface MadeSshKey {
  set: boolean;
  public_key: string | null;
  fingerprint: string | null;
  set_at: string | null;
  problem: string | null;
  where: string[];
  success: true;
  message: string;
}
export interface OwnedJobView {
  job_id: string;
  instance: string;
  state: string;
}
export interface Picture {
  picture: string;
}
export interface Readiness {
  status: "ready" | "not ready";
  database: DatabaseState;
  replica: ReplicaState;
  library: LibraryState;
  sqlite_version: string | null;
  detail: string | null;
}
export interface ReplicaState {
  id: number | null;
  lease_left_seconds: number | null;
  is_listening: boolean | null;
  lag_seconds: number | null;
}
export interface ReceiverList {
  receivers: ReceiverView[];
}
export interface ReceiverView {
  receiver_id: string;
  name: string;
  kind: "webhook" | "apprise";
  address: string;
  source: "settings" | "stored";
  events: string[];
  created_at: string;
  pending: number;
  last: DeliveryView | null;
}
export interface Refusal {
  success: false;
  message: string;
  code: string;
  errors: WrongField[];
  retry_after_seconds?: number;
}
export interface RentedInstance {
  id: number;
  label: string | null;
  gpu: string | null;
  gpu_count: number | null;
  status: string;
  dollars_per_hour: number | null;
  disk_total: number | null;
  disk_used: number | null;
  ssh_host: string | null;
  ssh_port: number | null;
  ssh_user: string;
  way: ("direct" | "proxy") | null;
  active: number;
}
export interface RentedInstances {
  instances: RentedInstance[];
  may_stop: boolean;
}
export interface ReplicaView {
  replica_id: number;
  name: string;
  version: string;
  is_this: boolean;
  same_cards: boolean;
  lease_left_seconds: number | null;
  jobs: OwnedJobView[];
}
export interface ReplicaViews {
  replicas: ReplicaView[];
  left: OwnedJobView[];
}
export interface Report {
  job_id: string;
  instance: string;
  ui_home: string;
  resources: string[];
  retry_of: string | null;
  created_at: string;
  started_at: string | null;
  state: string;
  ended_at: string | null;
  installed: number | null;
  total: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  events: number;
  damaged_events: number;
  failures: Failure[];
  timeline: Span[];
  attempts: Attempt[];
  runs: Run[];
  throughput: Throughput;
  last_lines: string[];
}
export interface Span {
  kind: string;
  what: string | null;
  resource: string | null;
  attempt: number | null;
  sequence: number;
  from: string;
  to: string | null;
  seconds: number | null;
}
export interface Run {
  resource: string;
  attempt: number;
  run: number;
  tool: string;
  file: string | null;
  address: string | null;
  judged: boolean;
  status: number | null;
  bytes: number | null;
  seconds: number | null;
  sequence: number;
}
export interface Throughput {
  from: string | null;
  step_seconds: number | null;
  bytes_per_second: number[];
}
export interface ResourceResult {
  resource: string;
  state: ResourceState;
  attempt: number;
  cause: string | null;
  error: string | null;
  hint: string | null;
  exit_code: number | null;
  seconds: number | null;
}
export interface SavedCard {
  path: string;
  title: string;
  type: string | null;
  ecosystem: string | null;
  basemodel: string | null;
  version: string | number | null;
  tags: string[];
  size: number | null;
  sha256: string;
  files: CardFileView[];
  url: string | null;
  license: string | null;
  image: string | null;
  dependencies: string[];
  aliases: string[];
  AIR: string | null;
  installs: "nothing" | null;
  background: boolean;
  description: string;
  warnings: string[];
  download: string;
  success: true;
  message: string;
  [k: string]: unknown;
}
export interface StartedRemoval {
  success: true;
  job_id: string;
  message: string;
  count: number;
}
export interface TestedReceiver {
  success: true;
  receiver_id: string;
  delivered: boolean;
  status: number | null;
  message: string;
}

export type Control = "cancel" | "change" | "delete" | "move" | "pause" | "resume" | "retry";
export type Standing = "queued" | "paused in the queue" | "running" | "paused" | "completed" | "failed" | "cancelled";
// The controls that each standing of a job allows. A job that is being cancelled allows none.
export const possibleIn: Readonly<Record<Standing, readonly Control[]>> = {
  "queued": ["pause", "cancel", "move", "change"],
  "paused in the queue": ["resume", "cancel", "move", "change"],
  "running": ["pause", "cancel", "change"],
  "paused": ["resume", "cancel", "change"],
  "completed": ["delete"],
  "failed": ["retry", "delete"],
  "cancelled": ["retry", "delete"],
};
export const jobStates: readonly JobState[] = ["queued", "running", "paused", "completed", "failed", "cancelled"];
export const activeStates: readonly JobState[] = ["queued", "running", "paused"];
