import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/**
 * Scores one row and prints the answer. Java 17, without other libraries.
 *
 * <p>usage: java Predict.java     FOREBAY_URL (default http://127.0.0.1:8080), FOREBAY_API_KEY if the mesh requires one
 */
public final class Predict {
    private static final int ATTEMPTS = 3;

    public static void main(String[] arguments) throws Exception {
        String url = System.getenv().getOrDefault("FOREBAY_URL", "http://127.0.0.1:8080");
        String row = "[0.038,0.051,0.062,0.022,-0.044,-0.035,-0.043,-0.003,0.02,-0.018]";
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + "/v1/predict"))
            .timeout(Duration.ofSeconds(10))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString("{\"features\":" + row + "}"));
        String key = System.getenv("FOREBAY_API_KEY");
        if (key != null) {
            request.header("X-API-Key", key);
        }
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
        for (int attempt = 1; ; attempt++) {
            HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            boolean later = answer.statusCode() == 429 || answer.statusCode() == 503;
            if (later && attempt < ATTEMPTS) {
                Thread.sleep(1000 * answer.headers().firstValueAsLong("Retry-After").orElse(1));
                continue;
            }
            if (answer.statusCode() != 200) {
                throw new IllegalStateException(answer.statusCode() + ": " + answer.body());
            }
            System.out.println(answer.body());
            return;
        }
    }
}
