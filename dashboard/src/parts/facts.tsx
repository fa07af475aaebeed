// What is known of a model, as a list of names and values; what is not known is left out.

import { webAddress } from "../card_address";
import { Foreign } from "./common";

export function Facts({ facts }: { facts: [string, string | null | undefined][] }) {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return (
    <dl class="figures of-model">
      {known.map(([name, value]) => (
        <div key={name} class="fact">
          <dt>{name}</dt>
          <dd>
            <Foreign>{value}</Foreign>
          </dd>
        </div>
      ))}
    </dl>
  );
}

// A link to the model's own page. The site is not told where it was followed.
export function ModelPage({ address }: { address: string | null }) {
  const url = webAddress(address);
  if (url === null) return <Foreign>{address}</Foreign>;
  return (
    <a href={url} target="_blank" rel="noopener noreferrer">
      Its page at {new URL(url).host}
    </a>
  );
}
