// The header of all pages. The description of the API is a page of its own.

const links: [string, string][] = [
  ["./#/", "Installs"],
  ["./#/install", "Start an install"],
  ["./#/resources", "Library"],
  ["./#/instances", "Instances"],
  ["./#/failures", "Failures"],
  ["./#/keys", "Keys"],
  ["./#/replicas", "Replicas"],
  ["./#/receivers", "Notifications"],
  ["./docs", "API"],
];

export function Header({ current }: { current: string }) {
  return (
    <>
      {/* biome-ignore lint/a11y/useValidAnchor: a skip link is a link, also where its address must stay as it is */}
      <a class="skip" href="#main" onClick={toMain}>
        Skip to the content
      </a>
      <header>
        <a class="name" href="./#/">
          Resource installer
        </a>
        <nav aria-label="Pages">
          {links.map(([address, name]) => (
            <a key={address} href={address} {...(name === current ? { "aria-current": "page" as const } : {})}>
              {name}
            </a>
          ))}
        </nav>
      </header>
    </>
  );
}

// The address names the page: the link must not change it.
function toMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
